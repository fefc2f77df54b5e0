// The manifest to edit: problems at their line, and what would change, before anything does.
import { useEffect, useRef, useState, type KeyboardEvent, type RefObject } from "react";

import { ApplyOutcome, type ApplySystemResponse } from "../gen/edgeflow/v1/control_pb";
import { ChangeAction, type Plan, type Problem, type System } from "../gen/edgeflow/v1/system_pb";
import { api } from "../lib/api";
import { plural } from "../lib/format";
import type { Tone } from "../lib/model";
import { DiffView } from "./diff-view";
import { Failure, Notice, Panel, Tag } from "./parts";

const ACTIONS: Record<number, { text: string; tone: Tone }> = {
  [ChangeAction.KEEP]: { text: "keep", tone: "off" },
  [ChangeAction.ADD]: { text: "add", tone: "ok" },
  [ChangeAction.CHANGE]: { text: "change", tone: "warn" },
  [ChangeAction.REMOVE]: { text: "remove", tone: "bad" },
};

interface Draft {
  text: string;
  etag: string;
  base: string;
}

export function Editor({ system }: { system: System }) {
  const [draft, setDraft] = useState<Draft>({ text: system.manifest, etag: system.etag, base: system.manifest });
  const [answer, setAnswer] = useState<{ text: string; response: ApplySystemResponse } | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState("");
  const area = useRef<HTMLTextAreaElement>(null);
  const changed = draft.text !== draft.base;
  const moved = system.etag !== draft.etag;
  const takeCurrent = () => {
    setDraft({ text: system.manifest, etag: system.etag, base: system.manifest });
    setAnswer(null);
    setError(null);
  };
  useEffect(() => {
    if (moved && !changed) takeCurrent();
    // Only a new etag matters; takeCurrent reads what is current then.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [system.etag]);
  const ask = async (dryRun: boolean) => {
    setBusy(dryRun ? "plan" : "apply");
    setError(null);
    try {
      const response = await api.applySystem({ manifest: draft.text, file: "system.yaml", etag: draft.etag, dryRun });
      setAnswer({ text: draft.text, response });
      const after = response.system;
      if (!dryRun && after && response.outcome !== ApplyOutcome.REJECTED) setDraft({ text: after.manifest, etag: after.etag, base: after.manifest });
    } catch (failure) {
      setError(failure);
    }
    setBusy("");
  };
  const planned = answer !== null && answer.text === draft.text && answer.response.dryRun && answer.response.outcome !== ApplyOutcome.REJECTED;
  const problems = answer?.response.problems ?? [];
  return (
    <>
      {moved && changed && (
        <Notice tone="warn">
          <b>The system was changed by somebody else meanwhile.</b> Applying your text would be refused.{" "}
          <button type="button" className="button small" onClick={takeCurrent}>
            Drop my changes and load what is there
          </button>
        </Notice>
      )}
      <TextArea text={draft.text} problems={problems} area={area} onChange={(text) => setDraft({ ...draft, text })} onPlan={() => void ask(true)} />
      <div className="row">
        <button type="button" className="button" disabled={busy !== "" || !changed} onClick={() => void ask(true)}>
          {busy === "plan" ? "Planning…" : "Plan"}
        </button>
        <button type="button" className="button primary" disabled={busy !== "" || !planned} onClick={() => void ask(false)} title={planned ? "" : "Plan first"}>
          {busy === "apply" ? "Applying…" : "Apply"}
        </button>
        <button type="button" className="button" disabled={!changed} onClick={takeCurrent}>
          Reset
        </button>
        <span className="muted">{changed ? (planned ? "Planned, not applied" : "Changed, not planned") : "As applied"}</span>
      </div>
      {error !== null && <Failure error={error} what="That was not accepted." />}
      {answer && <Answer response={answer.response} onJump={(problem) => jump(area.current, problem)} base={draft.base} text={answer.text} />}
    </>
  );
}

function TextArea({ text, problems, area, onChange, onPlan }: { text: string; problems: Problem[]; area: RefObject<HTMLTextAreaElement | null>; onChange: (text: string) => void; onPlan: () => void }) {
  const gutter = useRef<HTMLDivElement>(null);
  const marks = new Map(problems.map((problem) => [problem.line, problem]));
  const key = (event: KeyboardEvent<HTMLTextAreaElement>) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter") {
      event.preventDefault();
      onPlan();
    }
  };
  return (
    <div className="editor">
      <div className="gutter" ref={gutter} aria-hidden="true">
        {text.split("\n").map((_, index) => {
          const problem = marks.get(index + 1);
          return (
            <div key={index} className={problem ? (problem.severity === "warning" ? "warn" : "bad") : ""} title={problem?.message}>
              {index + 1}
            </div>
          );
        })}
      </div>
      <textarea
        ref={area}
        aria-label="Manifest"
        aria-invalid={problems.length > 0}
        spellCheck={false}
        autoCapitalize="off"
        wrap="off"
        value={text}
        onChange={(event) => onChange(event.target.value)}
        onKeyDown={key}
        onScroll={(event) => {
          if (gutter.current) gutter.current.scrollTop = event.currentTarget.scrollTop;
        }}
      />
    </div>
  );
}

/** Puts the cursor on the marked text. */
function jump(area: HTMLTextAreaElement | null, problem: Problem): void {
  if (!area || problem.line === 0) return;
  const lines = area.value.split("\n");
  const start = lines.slice(0, problem.line - 1).reduce((sum, line) => sum + line.length + 1, 0) + Math.max(0, problem.column - 1);
  area.focus();
  area.setSelectionRange(start, start + problem.length);
  area.scrollTop = Math.max(0, (problem.line - 6) * 20);
}

function Answer({ response, onJump, base, text }: { response: ApplySystemResponse; onJump: (problem: Problem) => void; base: string; text: string }) {
  const { outcome, problems, plan, dryRun } = response;
  return (
    <>
      {problems.length > 0 && (
        <Panel title={outcome === ApplyOutcome.REJECTED ? plural(problems.length, "problem") : "Warnings"} flush>
          {problems.map((problem, index) => (
            <ProblemRow key={index} problem={problem} onJump={onJump} />
          ))}
        </Panel>
      )}
      {outcome === ApplyOutcome.UNCHANGED && <Notice>Nothing would change.</Notice>}
      {!dryRun && (outcome === ApplyOutcome.UPDATED || outcome === ApplyOutcome.CREATED) && (
        <Notice tone="ok">
          <b>Applied</b> as revision {String(response.system?.revision ?? 0)}.
        </Notice>
      )}
      {dryRun && plan && outcome !== ApplyOutcome.REJECTED && outcome !== ApplyOutcome.UNCHANGED && (
        <Panel title="Plan">
          <div className="stack">
            <PlanView plan={plan} />
            <DiffView before={base} after={text} />
          </div>
        </Panel>
      )}
    </>
  );
}

function ProblemRow({ problem, onJump }: { problem: Problem; onJump: (problem: Problem) => void }) {
  return (
    <button type="button" className="problem" onClick={() => onJump(problem)}>
      <span>
        <Tag tone={problem.severity === "warning" ? "warn" : "bad"}>{problem.line > 0 ? `${problem.line}:${problem.column}` : problem.severity}</Tag> <b>{problem.message}</b>
      </span>
      {problem.sourceLine && (
        <pre>
          {problem.sourceLine}
          {"\n"}
          <span className="caret">{" ".repeat(Math.max(0, problem.column - 1)) + "^".repeat(Math.max(1, problem.length))}</span>
        </pre>
      )}
      {problem.hint && <span className="muted">{problem.hint}</span>}
    </button>
  );
}

export function PlanView({ plan }: { plan: Plan }) {
  const nodes = plan.nodes.filter((change) => change.action !== ChangeAction.KEEP);
  const links = plan.links.filter((change) => change.action !== ChangeAction.KEEP);
  return (
    <div className="changes">
      {nodes.length + links.length === 0 && <p className="muted">No node and no link changes.</p>}
      <ul>
        {nodes.map((change) => (
          <Change key={change.node} action={change.action} name={change.node} details={change.details.join(", ")} />
        ))}
        {links.map((change) => (
          <Change key={change.id} action={change.action} name={change.id} details={[change.qos, change.transport].filter(Boolean).join(", ")} />
        ))}
      </ul>
      {plan.overrides.length > 0 && (
        <ul aria-label="Parameters that were set">
          {plan.overrides.map((change) => (
            <li key={`${change.node}.${change.name}`}>
              <Tag tone={change.action === ChangeAction.KEEP ? "off" : "warn"}>{change.action === ChangeAction.KEEP ? "keep" : "drop"}</Tag>
              <code>
                {change.node}.{change.name} = {change.valueJson}
              </code>
              <span className="muted">{change.reason}</span>
            </li>
          ))}
        </ul>
      )}
      {plan.devices.length === 0 ? (
        <p className="muted">No device matches, so nothing starts anywhere yet.</p>
      ) : (
        plan.devices.map((device) => (
          <div key={device.deviceId}>
            <b>{device.deviceName}</b> {!device.online && <Tag tone="bad">offline</Tag>}
            <ul>
              {device.instances.map((change) => (
                <Change key={change.instance} action={change.action} name={change.instance} details={change.reason} verbs />
              ))}
            </ul>
          </div>
        ))
      )}
    </div>
  );
}

const VERBS: Record<number, string> = { [ChangeAction.ADD]: "start", [ChangeAction.CHANGE]: "restart", [ChangeAction.REMOVE]: "stop" };

function Change({ action, name, details, verbs }: { action: ChangeAction; name: string; details: string; verbs?: boolean }) {
  const { text, tone } = ACTIONS[action] ?? { text: "?", tone: "off" as const };
  return (
    <li>
      <Tag tone={tone}>{verbs ? (VERBS[action] ?? text) : text}</Tag>
      <code>{name}</code>
      <span className="muted">{details}</span>
    </li>
  );
}
