// Who is logged in: takes the token out of the address, trades it for a cookie, tells the page when
// the server no longer accepts the cookie. Never keeps the token.
import { createStore } from "./store";

export type AuthState = "checking" | "in" | "out";
export const auth = createStore<AuthState>("checking");

/** Takes `#token=…` out of the address bar and the history. */
export function takeFragmentToken(): string | null {
  const found = /[#&]token=([^&]+)/.exec(location.hash);
  if (!found?.[1]) return null;
  history.replaceState(history.state, "", location.pathname + location.search);
  return decodeURIComponent(found[1]);
}

export type LoginResult = { ok: true } | { ok: false; message: string };

export async function login(token: string): Promise<LoginResult> {
  let response: Response;
  try {
    response = await fetch("/login", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ token: token.trim() }),
      credentials: "same-origin",
    });
  } catch {
    return { ok: false, message: "The control plane does not answer. Is it running?" };
  }
  if (response.ok) {
    auth.set("in");
    return { ok: true };
  }
  if (response.status === 401 || response.status === 403) {
    return { ok: false, message: "The control plane does not accept this token." };
  }
  return { ok: false, message: `Login failed: the control plane answered ${response.status}.` };
}

export async function logout(): Promise<void> {
  try {
    await fetch("/logout", { method: "POST", credentials: "same-origin" });
  } finally {
    auth.set("out");
  }
}
