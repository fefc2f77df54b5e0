// The exact command that joins a machine, with a fresh token.
import { useState } from "react";

import type { CreateTokenResponse } from "../gen/edgeflow/v1/control_pb";
import { api } from "../lib/api";
import { CopyCommand, Dialog, Failure } from "./parts";

const TTL_SECONDS = 3600;

export function AddDevice() {
  const [made, setMade] = useState<CreateTokenResponse | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const make = async () => {
    setBusy(true);
    setError(null);
    try {
      setMade(await api.createToken({ ttlSeconds: TTL_SECONDS, maxUses: 1 }));
    } catch (failure) {
      setError(failure);
    }
    setBusy(false);
  };
  if (made) {
    return (
      <div className="stack">
        <CopyCommand text={`edgeflow-agent --server ${made.agentAddress} --join ${made.secret}`} />
        <p className="muted">This token joins one device and ends in an hour. It is shown only now.</p>
      </div>
    );
  }
  return (
    <div className="stack">
      <CopyCommand text="edgeflow-agent --join $(edgeflow token create -o name)" />
      <p className="muted">That is for this machine. For another one, create a token and get its whole command:</p>
      <div className="row" style={{ justifyContent: "center" }}>
        <button type="button" className="button primary" disabled={busy} onClick={() => void make()}>
          {busy ? "Creating…" : "Create join command"}
        </button>
      </div>
      {error !== null && <Failure error={error} what="No token was made." />}
    </div>
  );
}

export function AddDeviceDialog({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title="Add a device" onClose={onClose}>
      <div className="body">
        <h1>Add a device</h1>
        <p className="muted">Run the agent on the machine with a join token. The token carries this control plane's fingerprint, so the device knows whom it talks to.</p>
        <AddDevice />
        <div className="actions">
          <button type="button" className="button" onClick={onClose}>
            Close
          </button>
        </div>
      </div>
    </Dialog>
  );
}
