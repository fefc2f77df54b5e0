// Running copies of nodes: phase, restarts, and why one is not ready.
import { Fragment, useState } from "react";

import { InstancePhase, type InstanceStatus } from "../gen/edgeflow/v1/status_pb";
import { ago, bytes, dateTime, duration, fps, micros, percent } from "../lib/format";
import { instancePhase } from "../lib/model";
import { Link, paths } from "../lib/router";
import { useNow } from "../lib/stream";
import { Empty, Tag } from "./parts";

export function InstanceTable({ instances, show }: { instances: InstanceStatus[]; show: "system" | "device" }) {
  const now = useNow();
  if (instances.length === 0) return <Empty title="No instance is placed here" />;
  const sorted = [...instances].sort((a, b) => a.deviceName.localeCompare(b.deviceName) || a.id.localeCompare(b.id));
  return (
    <div className="scroll-x">
      <table>
        <thead>
          <tr>
            <th>Instance</th>
            <th>Phase</th>
            <th className="num">fps</th>
            <th className="num hide-s" title="Time in the node's loop: median and 99th percentile">Loop p50 / p99</th>
            <th className="num">Restarts</th>
            <th className="num hide-s">CPU</th>
            <th className="num hide-s">Memory</th>
            <th className="num hide-s">Up</th>
            <th className="hide-s">{show === "device" ? "Device" : "System"}</th>
          </tr>
        </thead>
        <tbody>
          {sorted.map((instance) => (
            <InstanceRow key={`${instance.deviceId}/${instance.id}`} instance={instance} show={show} now={now} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function InstanceRow({ instance, show, now }: { instance: InstanceStatus; show: "system" | "device"; now: number }) {
  const { text, tone } = instancePhase(instance.phase);
  const running = instance.phase === InstancePhase.READY || instance.phase === InstancePhase.STARTING;
  const loop = instance.stats?.loopTime;
  return (
    <Fragment>
      <tr className={hasTrouble(instance) ? "open" : undefined}>
        <td>
          <Link href={paths.logs({ system: instance.system, node: instance.node, device: instance.deviceName })} title="Show its log">
            {instance.id}
          </Link>
          <div className="faint">
            revision {String(instance.revision)}
            {running && instance.pid > 0 ? ` · pid ${instance.pid}` : ""}
          </div>
        </td>
        <td>
          <Tag tone={tone}>{text}</Tag>
        </td>
        <td className="num">{running && instance.stats ? fps(instance.stats.fps) : "–"}</td>
        <td className="num hide-s">{running && loop && loop.maxUs > 0 ? `${micros(loop.p50Us)} / ${micros(loop.p99Us)}` : "–"}</td>
        <td className={`num ${instance.restarts > 0 ? "warn" : ""}`}>{instance.restarts}</td>
        <td className="num hide-s" title="Share of one core">{running ? percent(instance.cpu) : "–"}</td>
        <td className="num hide-s">{running ? bytes(instance.rssBytes) : "–"}</td>
        <td className="num hide-s">{running && instance.startedUnixMs > 0n ? duration(now - Number(instance.startedUnixMs)) : "–"}</td>
        <td className="hide-s">
          {show === "device" ? <Link href={paths.device(instance.deviceName)}>{instance.deviceName}</Link> : <Link href={paths.system(instance.system)}>{instance.system}</Link>}
        </td>
      </tr>
      <Trouble instance={instance} now={now} />
    </Fragment>
  );
}

function hasTrouble(instance: InstanceStatus): boolean {
  return Boolean(instance.reason || instance.lastExit || instance.stats?.condition);
}

/** The reason row under an instance that is not well or was not a while ago. */
function Trouble({ instance, now }: { instance: InstanceStatus; now: number }) {
  const [open, setOpen] = useState(false);
  const exit = instance.lastExit;
  const condition = instance.stats?.condition ?? "";
  if (!hasTrouble(instance)) return null;
  const due = Number(instance.nextStartUnixMs) - now;
  const waits = (instance.phase === InstancePhase.BACKOFF || instance.phase === InstancePhase.CRASH_LOOP || instance.phase === InstancePhase.FAILED) && due > 0;
  return (
    <tr>
      <td colSpan={9} style={{ paddingTop: 0 }}>
        <div className="stack" style={{ gap: 4 }}>
          {instance.reason && <span className="bad">{instance.reason}</span>}
          {condition && <span className="warn">{condition}</span>}
          {waits && <span className="muted">Next start in {duration(due + 999)}.</span>}
          {exit && (
            <span className="muted">
              Last exit: {exit.message || "unknown"}
              {exit.outOfMemory ? " (out of memory)" : ""}
              {exit.atUnixMs > 0n && <span title={dateTime(exit.atUnixMs)}>, {ago(exit.atUnixMs, now)}</span>}
              {exit.logTail.length > 0 && (
                <>
                  {" "}
                  <button type="button" className="label" aria-expanded={open} onClick={() => setOpen(!open)}>
                    {open ? "hide" : "last lines"}
                  </button>
                </>
              )}
            </span>
          )}
          {open && exit && <pre className="logtail">{exit.logTail.join("\n")}</pre>}
        </div>
      </td>
    </tr>
  );
}
