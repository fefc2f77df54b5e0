// What a click on the graph shows: a link's figures or a node's parameters and replicas.
import { Fragment, type ReactNode } from "react";

import type { InstanceStatus } from "../gen/edgeflow/v1/status_pb";
import type { LinkInfo, NodeInfo, System } from "../gen/edgeflow/v1/system_pb";
import { bytes, count, dropPercent, fps, micros, words } from "../lib/format";
import { linkFigures, type Percentiles } from "../lib/model";
import { Link, paths } from "../lib/router";
import type { Picked } from "./graph";
import { Icon } from "./icons";
import { InstanceTable } from "./instances";
import { ParamsForm } from "./params-form";
import { Panel, Tag } from "./parts";

export function PickedPanel({ system, instances, picked, onClose }: { system: System; instances: InstanceStatus[]; picked: Picked; onClose: () => void }) {
  if (!picked) return null;
  const close = (
    <button type="button" className="button icon small" onClick={onClose} aria-label="Close">
      <Icon name="close" />
    </button>
  );
  if (picked.kind === "link") {
    const link = system.links.find((item) => item.id === picked.id);
    return link ? <LinkPanel link={link} instances={instances} close={close} /> : null;
  }
  const node = system.nodes.find((item) => item.name === picked.id);
  return node ? <NodePanel system={system} node={node} instances={instances} close={close} /> : null;
}

function LinkPanel({ link, instances, close }: { link: LinkInfo; instances: InstanceStatus[]; close: ReactNode }) {
  const figures = linkFigures(link, instances);
  return (
    <Panel title={<>Link <code>{link.id}</code></>} actions={<><Tag tone="info">{link.qos}</Tag>{close}</>}>
      <div className="grid3">
        <dl className="facts">
          <dt>Transport</dt>
          <dd>
            {figures.transport || "–"}
            {link.transportReason && <span className="muted"> · {link.transportReason}</span>}
          </dd>
          <dt>Rate</dt>
          <dd>{fps(figures.fps)} fps</dd>
          <dt>Consumers</dt>
          <dd>
            {figures.connected} of {figures.expected} connected
          </dd>
          <dt>Bytes</dt>
          <dd>{bytes(figures.bytes)}</dd>
          {figures.clock && (
            <>
              <dt>Clock</dt>
              <dd title="The producer's device minus the consumer's, measured over the link">
                {figures.clock.offsetUs < 0 ? "−" : "+"}
                {micros(Math.abs(figures.clock.offsetUs))} <span className="muted">± {micros(figures.clock.errorUs)}</span>
              </dd>
            </>
          )}
        </dl>
        <dl className="facts">
          <dt>Produced</dt>
          <dd>{count(figures.produced)}</dd>
          <dt>Delivered</dt>
          <dd>{count(figures.delivered)}</dd>
          <dt>In flight</dt>
          <dd>{count(figures.inFlight)}</dd>
          {figures.spilled > 0 && (
            <>
              <dt>On disk</dt>
              <dd>
                {count(figures.spilled)} <span className="muted">({bytes(figures.spilledBytes)})</span>
              </dd>
            </>
          )}
          <dt>Dropped</dt>
          <dd>
            {count(figures.droppedTotal)} <span className="muted">({dropPercent(figures.droppedTotal, figures.produced)})</span>
          </dd>
          {Object.entries(figures.dropped).map(([reason, n]) => (
            <Reason key={reason} reason={reason} n={n} />
          ))}
        </dl>
        <table>
          <thead>
            <tr>
              <th>Time</th>
              <th className="num">p50</th>
              <th className="num">p95</th>
              <th className="num">p99</th>
              <th className="num">max</th>
            </tr>
          </thead>
          <tbody>
            <LatencyRow name="Hop" title="From the producer's send to the consumer's loop" value={figures.hop} />
            <LatencyRow name="Age" title="From capture to the consumer's loop" value={figures.age} />
          </tbody>
        </table>
      </div>
    </Panel>
  );
}

function Reason({ reason, n }: { reason: string; n: number }) {
  return (
    <>
      <dt style={{ paddingLeft: 12 }}>{words(reason)}</dt>
      <dd>{count(n)}</dd>
    </>
  );
}

function LatencyRow({ name, title, value }: { name: string; title: string; value: Percentiles | null }) {
  return (
    <tr title={title}>
      <td>{name}</td>
      {value ? (
        [value.p50, value.p95, value.p99, value.max].map((us, index) => (
          <td key={index} className="num">
            {micros(us)}
          </td>
        ))
      ) : (
        <td className="num faint" colSpan={4}>
          not measured yet
        </td>
      )}
    </tr>
  );
}

function NodePanel({ system, node, instances, close }: { system: System; node: NodeInfo; instances: InstanceStatus[]; close: ReactNode }) {
  const here = instances.filter((instance) => instance.node === node.name);
  return (
    <Panel
      flush
      title={<>Node {node.name}</>}
      actions={
        <>
          <Link className="button small" href={paths.logs({ system: system.name, node: node.name })}>
            Logs
          </Link>
          {close}
        </>
      }
    >
      <div className="body">
        <dl className="facts">
          <dt>{node.uses ? "Built-in" : "Command"}</dt>
          <dd>
            <code>{node.uses || node.run.join(" ")}</code>
          </dd>
          <dt>Replicas</dt>
          <dd>{node.replicas} a device</dd>
          {(node.inputs.length > 0 || node.outputs.length > 0) && (
            <>
              <dt>Ports</dt>
              <dd>
                {node.inputs.join(", ") || "no input"} → {node.outputs.join(", ") || "no output"}
              </dd>
            </>
          )}
        </dl>
        <Facts instances={here} />
        <Counters instances={here} />
        <ParamsForm system={system} node={node} />
      </div>
      <InstanceTable instances={here} show="device" />
    </Panel>
  );
}

/** What the node says of itself, a line for each different text, and the slowest replica's times in parts of its loop. */
function Facts({ instances }: { instances: InstanceStatus[] }) {
  const facts = new Map<string, Set<string>>();
  const parts = new Map<string, { p50: number; p99: number }>();
  for (const instance of instances) {
    for (const [name, text] of Object.entries(instance.stats?.facts ?? {})) facts.set(name, (facts.get(name) ?? new Set()).add(text));
    for (const [name, times] of Object.entries(instance.stats?.parts ?? {})) {
      const known = parts.get(name);
      if (times.maxUs > 0 && times.p99Us >= (known?.p99 ?? 0)) parts.set(name, { p50: times.p50Us, p99: times.p99Us });
    }
  }
  if (facts.size === 0 && parts.size === 0) return null;
  return (
    <dl className="facts" aria-label="Facts">
      {[...facts].sort().map(([name, texts]) => (
        <Fragment key={name}>
          <dt>{words(name)}</dt>
          <dd>{[...texts].sort().join("; ")}</dd>
        </Fragment>
      ))}
      {[...parts].sort().map(([name, times]) => (
        <Fragment key={name}>
          <dt>Time in {name}</dt>
          <dd>
            p50 {micros(times.p50)}, p99 {micros(times.p99)}
          </dd>
        </Fragment>
      ))}
    </dl>
  );
}

/** What the node itself counts, over all its replicas. */
function Counters({ instances }: { instances: InstanceStatus[] }) {
  const sums = new Map<string, number>();
  for (const instance of instances) {
    for (const [name, value] of Object.entries(instance.stats?.counters ?? {})) sums.set(name, (sums.get(name) ?? 0) + Number(value));
  }
  if (sums.size === 0) return null;
  return (
    <dl className="facts" aria-label="Counters">
      {[...sums].sort().map(([name, value]) => (
        <Reason key={name} reason={name} n={value} />
      ))}
    </dl>
  );
}
