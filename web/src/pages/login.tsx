// Asks for the admin token when the page has no login.
import { useState, type FormEvent } from "react";

import { login } from "../lib/auth";
import { Notice } from "../ui/parts";

export function LoginPage({ first }: { first: string }) {
  const [token, setToken] = useState("");
  const [message, setMessage] = useState(first);
  const [busy, setBusy] = useState(false);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setMessage("");
    const result = await login(token);
    if (!result.ok) setMessage(result.message);
    setBusy(false);
  };
  return (
    <main className="login">
      <form onSubmit={(event) => void submit(event)}>
        <h1 className="row">
          <img src="/favicon.svg" alt="" width="26" height="26" /> EdgeFlow
        </h1>
        <p className="muted">
          Paste the admin token. It is in the file <code>admin-token</code> of the control plane's data folder.
        </p>
        <label className="stack">
          <span className="sr">Admin token</span>
          <input type="password" name="token" autoComplete="current-password" placeholder="efa_…" value={token} onChange={(event) => setToken(event.target.value)} autoFocus required />
        </label>
        {message && <Notice tone="bad">{message}</Notice>}
        <button type="submit" className="button primary" disabled={busy || !token.trim()}>
          {busy ? "Checking…" : "Log in"}
        </button>
      </form>
    </main>
  );
}
