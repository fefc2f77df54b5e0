// A node's parameters: live ones to change while it runs, the others to read.
import { useEffect, useState, type FormEvent } from "react";

import { ParamsProgress, type SetParamsResponse } from "../gen/edgeflow/v1/control_pb";
import type { NodeInfo, System } from "../gen/edgeflow/v1/system_pb";
import { api } from "../lib/api";
import { plural } from "../lib/format";
import { changesOf, fieldNamed, fieldsOf, rangeOf, stepOf, textOf, type Draft, type Field } from "../lib/params";
import { Failure, Notice, Tag } from "./parts";

/** Longest wait for the nodes. */
const WAIT_MS = 15_000;

export function ParamsForm({ system, node }: { system: System; node: NodeInfo }) {
  const [draft, setDraft] = useState<Draft>({});
  const [durable, setDurable] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const [answer, setAnswer] = useState<SetParamsResponse | null>(null);
  const fields = fieldsOf(node);
  const forget = () => {
    setDraft({});
    setAnswer(null);
    setError(null);
  };
  useEffect(forget, [system.name, node.name]);
  if (fields.length === 0) return null;
  const { set, problems } = changesOf(fields, draft);
  const faults = { ...serverFaults(fields, answer), ...problems };
  const ask = async (changes: { name: string; json: string }[], reset: string[]) => {
    setBusy(true);
    setError(null);
    setAnswer(null);
    try {
      const response = await api.setParams({
        system: system.name,
        node: node.name,
        set: changes.map(({ name, json }) => ({ name, value: { case: "json" as const, value: json } })),
        reset,
        durable,
        waitMs: WAIT_MS,
      });
      setAnswer(response);
      const refused = response.problems.length > 0 || response.withdrawn;
      if (!refused) setDraft((held) => without(held, [...changes.map((change) => change.name), ...reset]));
    } catch (failure) {
      setError(failure);
    }
    setBusy(false);
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (set.length > 0 && Object.keys(problems).length === 0 && !busy) void ask(set, []);
  };
  const anyLive = fields.some((field) => field.live);
  return (
    <form className="params" aria-label={`Parameters of ${node.name}`} onSubmit={submit} noValidate>
      {fields.map((field) => (
        <Row
          key={field.name}
          field={field}
          id={`${system.name}-${node.name}-${field.name}`}
          text={draft[field.name] ?? textOf(field)}
          fault={faults[field.name] ?? ""}
          busy={busy}
          onChange={(text) => setDraft((held) => ({ ...held, [field.name]: text }))}
          onReset={() => void ask([], [field.name])}
        />
      ))}
      {anyLive && (
        <div className="row">
          <button type="submit" className="button primary small" disabled={busy || set.length === 0 || Object.keys(problems).length > 0}>
            {busy ? "Applying…" : "Apply"}
          </button>
          <button type="button" className="button small" disabled={busy || Object.keys(draft).length === 0} onClick={forget}>
            Reset
          </button>
          <label className="check">
            <input type="checkbox" checked={durable} onChange={(event) => setDurable(event.target.checked)} /> Keep after the next apply
          </label>
          <span className="muted">{set.length > 0 ? `${plural(set.length, "change")} not applied` : "Changes need no restart"}</span>
        </div>
      )}
      {error !== null && <Failure error={error} what="That was not accepted." />}
      {answer && <Answer answer={answer} fields={fields} />}
    </form>
  );
}

function without(draft: Draft, names: string[]): Draft {
  return Object.fromEntries(Object.entries(draft).filter(([name]) => !names.includes(name)));
}

function serverFaults(fields: Field[], answer: SetParamsResponse | null): Record<string, string> {
  const faults: Record<string, string> = {};
  for (const problem of answer?.problems ?? []) {
    const name = fieldNamed(fields, problem.message);
    if (name) faults[name] = [problem.message, problem.hint].filter(Boolean).join("; ");
  }
  return faults;
}

function Row({ field, id, text, fault, busy, onChange, onReset }: { field: Field; id: string; text: string; fault: string; busy: boolean; onChange: (text: string) => void; onReset: () => void }) {
  const note = field.why || [field.summary, field.input === "number" && field.live ? sentence(rangeOf(field)) : ""].filter(Boolean).join(" ");
  return (
    <div className="param">
      <label htmlFor={id} className="mono">
        {field.name}
      </label>
      <div className="value">
        {field.live ? <Control field={field} id={id} text={text} fault={fault} disabled={busy} onChange={onChange} /> : <code id={id}>{text || "–"}</code>}
        {field.from === "set" && (
          <>
            <Tag tone="info" title={`The manifest has ${textOf(field, field.manifest) || "none"}`}>
              {field.durable ? "set, durable" : "set until the next apply"}
            </Tag>
            <button type="button" className="button small" disabled={busy} onClick={onReset} title={`Back to ${textOf(field, field.manifest) || "none"}`} aria-label={`Back to the manifest's ${field.name}`}>
              Back to manifest
            </button>
          </>
        )}
        {field.from === "default" && <span className="faint">default</span>}
      </div>
      {fault ? (
        <p className="bad" id={`${id}-note`} role="alert">
          {fault}
        </p>
      ) : (
        note && (
          <p className="muted" id={`${id}-note`}>
            {note}
          </p>
        )
      )}
    </div>
  );
}

function sentence(text: string): string {
  return text ? `${text[0]?.toUpperCase()}${text.slice(1)}.` : "";
}

function Control({ field, id, text, fault, disabled, onChange }: { field: Field; id: string; text: string; fault: string; disabled: boolean; onChange: (text: string) => void }) {
  const common = { id, disabled, "aria-invalid": fault !== "", "aria-describedby": `${id}-note` };
  switch (field.input) {
    case "checkbox":
      return <input {...common} type="checkbox" checked={text === "true"} onChange={(event) => onChange(String(event.target.checked))} />;
    case "select":
      return (
        <select {...common} value={text} onChange={(event) => onChange(event.target.value)}>
          {!field.options.includes(text) && <option value={text}>{text || "–"}</option>}
          {field.options.map((option) => (
            <option key={option}>{option}</option>
          ))}
        </select>
      );
    case "number":
      return <input {...common} type="number" min={field.min} max={field.max} step={stepOf(field)} value={text} onChange={(event) => onChange(event.target.value)} />;
    default:
      return <input {...common} type="text" value={text} placeholder={field.input === "list" ? "a, b, c" : ""} onChange={(event) => onChange(event.target.value)} />;
  }
}

function Answer({ answer, fields }: { answer: SetParamsResponse; fields: Field[] }) {
  const elsewhere = answer.problems.filter((problem) => !fieldNamed(fields, problem.message));
  const refused = answer.outcomes.filter((one) => one.progress === ParamsProgress.REFUSED);
  const pending = answer.outcomes.filter((one) => one.progress === ParamsProgress.PENDING);
  const applied = answer.outcomes.length - refused.length - pending.length;
  if (elsewhere.length > 0) return <Notice tone="bad">{elsewhere.map((problem) => problem.message).join(" ")}</Notice>;
  if (answer.problems.length > 0) return null;
  if (refused.length > 0) {
    return (
      <Notice tone="bad">
        <b>The node refused the values{answer.withdrawn ? "; its old ones stay" : ""}.</b> {refused.map((one) => `${one.instance} on ${one.deviceName}: ${one.message}`).join("; ")}
      </Notice>
    );
  }
  if (pending.length > 0) {
    return (
      <Notice tone="warn">
        Taken by {applied} of {answer.outcomes.length}. {pending.map((one) => `${one.instance} on ${one.deviceName}: ${one.message}`).join("; ")}
      </Notice>
    );
  }
  return <Notice tone="ok">{answer.outcomes.length > 0 ? `Taken by ${plural(applied, "running copy", "running copies")}, without a restart.` : "Stored; no device runs the node yet."}</Notice>;
}
