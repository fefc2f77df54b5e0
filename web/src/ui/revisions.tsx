// A system's history: what each revision changed, and the way back.
import { useState } from "react";

import type { Revision, System } from "../gen/edgeflow/v1/system_pb";
import { api } from "../lib/api";
import { ago, dateTime } from "../lib/format";
import { useNow, usePoll } from "../lib/stream";
import { DiffView } from "./diff-view";
import { Confirm, Loading, Panel, Segments, Tag } from "./parts";

type Against = "before" | "current";

export function Revisions({ system }: { system: System }) {
  const list = usePoll(`revisions ${system.name} ${system.revision}`, 15_000, (signal) => api.listRevisions({ name: system.name }, { signal }));
  const [chosen, setChosen] = useState<bigint | null>(null);
  const [against, setAgainst] = useState<Against>("before");
  const [target, setTarget] = useState<Revision | null>(null);
  const now = useNow(5000);
  if (!list.value) return <Loading what="The revisions" error={list.error} />;
  const revisions = [...list.value.revisions].sort((a, b) => Number(b.number - a.number));
  const shown = revisions.find((item) => item.number === chosen) ?? revisions[0];
  const current = revisions.find((item) => item.current);
  const before = shown && revisions.find((item) => item.number < shown.number);
  return (
    <>
      <Panel flush>
        <table>
          <thead>
            <tr>
              <th style={{ width: "1%" }}>Revision</th>
              <th>Cause</th>
              <th>When</th>
              <th />
            </tr>
          </thead>
          <tbody>
            {revisions.map((revision) => (
              <tr key={String(revision.number)} className="link" onClick={() => setChosen(revision.number)} aria-selected={revision === shown} style={revision === shown ? { background: "var(--raised)" } : undefined}>
                <td>
                  <button type="button" className="label" onClick={() => setChosen(revision.number)}>
                    {String(revision.number)}
                  </button>
                </td>
                <td>
                  {revision.cause} {revision.current && <Tag tone="ok">current</Tag>}
                </td>
                <td className="muted nowrap" title={dateTime(revision.createdUnixMs)}>
                  {ago(revision.createdUnixMs, now)}
                </td>
                <td className="num">
                  {!revision.current && (
                    <button type="button" className="button small" onClick={(event) => {
                      event.stopPropagation();
                      setTarget(revision);
                    }}>
                      Roll back
                    </button>
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Panel>
      {shown && (
        <Panel
          title={`Revision ${shown.number}`}
          actions={<Segments<Against> label="Compare with" current={against} onPick={setAgainst} options={[{ id: "before", text: "against the one before" }, { id: "current", text: "against the current" }]} />}
        >
          {against === "before" ? <DiffView before={before?.manifest ?? ""} after={shown.manifest} /> : <DiffView before={current?.manifest ?? ""} after={shown.manifest} />}
        </Panel>
      )}
      {target && (
        <Confirm
          title={`Roll ${system.name} back to revision ${target.number}?`}
          action={`Roll back to ${target.number}`}
          onClose={() => setTarget(null)}
          onConfirm={async () => {
            await api.rollbackSystem({ name: system.name, revision: target.number, etag: system.etag });
            list.refresh();
          }}
        >
          <p className="muted">This makes a new revision with the manifest of revision {String(target.number)}. Nodes that change restart. Against what runs now:</p>
          <DiffView before={system.manifest} after={target.manifest} />
        </Confirm>
      )}
    </>
  );
}
