// Models that the control plane keeps, and which systems use them.
import { Fragment, useState } from "react";

import type { Model } from "../gen/edgeflow/v1/model_pb";
import { api } from "../lib/api";
import { ago, bytes, plural } from "../lib/format";
import { describe, tensorText, usage } from "../lib/models";
import { Link, paths } from "../lib/router";
import { useNow, usePoll } from "../lib/stream";
import { Confirm, CopyCommand, Empty, Loading, Panel, Tag } from "../ui/parts";

export function ModelsPage() {
  const models = usePoll("models", 5000, (signal) => api.listModels({}, { signal }));
  const [open, setOpen] = useState("");
  const [leaving, setLeaving] = useState("");
  const now = useNow(5000);
  if (!models.value) return <Loading what="The list of models" error={models.error} />;
  const all = models.value.models;
  return (
    <>
      <div className="head">
        <h1>Models</h1>
        <span className="muted">{plural(all.length, "model")}</span>
      </div>
      <Panel flush>
        {all.length === 0 ? (
          <Empty title="No model is kept here yet">
            <p>A model that is added here is fetched by the devices whose systems name it. Add a file, or one of the catalogue:</p>
            <CopyCommand text="edgeflow model add yolox-nano" />
          </Empty>
        ) : (
          <div className="scroll-x">
            <table>
              <thead>
                <tr>
                  <th>Model</th>
                  <th className="num">Size</th>
                  <th className="hide-s">Family</th>
                  <th className="num hide-s">Classes</th>
                  <th className="hide-s">Licence</th>
                  <th>Used by</th>
                  <th className="hide-s">Added</th>
                  <th />
                </tr>
              </thead>
              <tbody>
                {all.map((model) => (
                  <Fragment key={model.name}>
                    <Row model={model} now={now} open={open === model.name} onOpen={() => setOpen(open === model.name ? "" : model.name)} />
                    {open === model.name && <Details model={model} onDelete={() => setLeaving(model.name)} />}
                  </Fragment>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Panel>
      {leaving && (
        <Confirm
          title={`Delete ${leaving}?`}
          action="Delete"
          danger
          onConfirm={async () => {
            await api.deleteModel({ name: leaving });
            setLeaving("");
            models.refresh();
          }}
          onClose={() => setLeaving("")}
        >
          <p>The name can then be given to another file. Revisions of systems that name it can&apos;t be rolled back to.</p>
        </Confirm>
      )}
    </>
  );
}

function Row({ model, now, open, onOpen }: { model: Model; now: number; open: boolean; onOpen: () => void }) {
  const told = describe(model.description);
  return (
    <tr data-model={model.name}>
      <td>
        <div className="stack" style={{ gap: 4 }}>
          <b>{model.name}</b>
          {told.about && <span className="muted">{told.about}</span>}
        </div>
      </td>
      <td className="num nowrap">{bytes(model.bytes)}</td>
      <td className="hide-s">{told.family || "–"}</td>
      <td className="num hide-s">{told.labels.length || "–"}</td>
      <td className="hide-s">{told.licence || "–"}</td>
      <td>
        {model.systems.length === 0 && <span className="muted">–</span>}
        {model.systems.map((system, index) => (
          <Fragment key={system}>
            {index > 0 && ", "}
            <Link href={paths.system(system)}>{system}</Link>
          </Fragment>
        ))}
      </td>
      <td className="hide-s nowrap muted">{ago(model.addedUnixMs, now)}</td>
      <td className="nowrap">
        <button type="button" className="button small" aria-expanded={open} onClick={onOpen}>
          {open ? "Less" : "Details"}
        </button>
      </td>
    </tr>
  );
}

function Details({ model, onDelete }: { model: Model; onDelete: () => void }) {
  const told = describe(model.description);
  return (
    <tr>
      <td colSpan={8}>
        <div className="stack">
          <CopyCommand text={usage(model)} />
          <dl className="facts">
            <dt>SHA-256</dt>
            <dd className="mono">{model.sha256}</dd>
            {model.inputs.length > 0 && (
              <>
                <dt>Inputs</dt>
                <dd className="mono">{model.inputs.map(tensorText).join(", ")}</dd>
                <dt>Outputs</dt>
                <dd className="mono">{model.outputs.map(tensorText).join(", ")}</dd>
              </>
            )}
            {told.labels.length > 0 && (
              <>
                <dt>Classes</dt>
                <dd>
                  {told.labels.map((label) => (
                    <Fragment key={label}>
                      <Tag>{label}</Tag>{" "}
                    </Fragment>
                  ))}
                </dd>
              </>
            )}
          </dl>
          <div className="row">
            <button type="button" className="button small danger" disabled={model.systems.length > 0} title={model.systems.length > 0 ? "A system uses it." : undefined} onClick={onDelete}>
              Delete
            </button>
          </div>
        </div>
      </td>
    </tr>
  );
}
