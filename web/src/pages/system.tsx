// One system: the pipeline as it runs, its pictures, its history and its manifest.
import { useState } from "react";

import type { System } from "../gen/edgeflow/v1/system_pb";
import { api } from "../lib/api";
import { systemPhase } from "../lib/model";
import { Link, navigate, paths, setQuery, useLocation } from "../lib/router";
import { useWatch } from "../lib/stream";
import { viewsOf } from "../lib/views";
import { Editor } from "../ui/editor";
import { EventsPanel } from "../ui/event-list";
import { Graph, type Picked } from "../ui/graph";
import { InstanceTable } from "../ui/instances";
import { LogView } from "../ui/log-view";
import { Confirm, Dot, Empty, Labels, Loading, Notice, Panel, Segments, Tabs, Tag } from "../ui/parts";
import { PickedPanel } from "../ui/picked";
import { Revisions } from "../ui/revisions";
import type { Hop } from "../lib/hops";
import { Tile } from "../ui/tile";
import { Waterfall } from "../ui/waterfall";

const TABS = [
  { id: "overview", text: "Overview" },
  { id: "logs", text: "Logs" },
  { id: "events", text: "Events" },
  { id: "revisions", text: "Revisions" },
  { id: "manifest", text: "Manifest" },
];

export function SystemPage({ name }: { name: string }) {
  const watched = useWatch(name, (signal) => api.watchSystem({ name }, { signal }));
  const { query } = useLocation();
  const system = watched.value?.system;
  if (watched.missing) {
    return (
      <Panel>
        <Empty title={`No system is named ${name}`}>
          <p>It may have been deleted.</p>
          <Link href={paths.systems()} className="button">
            Go to the systems
          </Link>
        </Empty>
      </Panel>
    );
  }
  if (!system) return <Loading what="The system" error={watched.error} />;
  const tab = query.get("tab") ?? "overview";
  return (
    <>
      <Head system={system} />
      <Tabs label="System" current={tab} onPick={(id) => setQuery({ tab: id === "overview" ? "" : id })} tabs={TABS} />
      <TabBody tab={tab} system={system} />
    </>
  );
}

function TabBody({ tab, system }: { tab: string; system: System }) {
  switch (tab) {
    case "logs":
      return <LogView source={{ system: system.name }} />;
    case "events":
      return <EventsPanel system={system.name} />;
    case "revisions":
      return <Revisions system={system} />;
    case "manifest":
      return <Editor system={system} />;
    default:
      return <Overview system={system} />;
  }
}

function Head({ system }: { system: System }) {
  const status = system.status;
  const { text, tone } = systemPhase(status?.phase);
  const [deleting, setDeleting] = useState(false);
  return (
    <>
      <div className="head">
        <h1>{system.name}</h1>
        <Tag tone={tone}>{text}</Tag>
        <Labels labels={system.labels} />
        <span className="grow" />
        <span className="muted">
          revision {String(system.revision)} · {status?.devicesReady ?? 0}/{status?.devicesMatched ?? 0} devices · {status?.instancesReady ?? 0}/{status?.instancesDesired ?? 0} instances
        </span>
        <button type="button" className="button danger small" onClick={() => setDeleting(true)}>
          Delete
        </button>
      </div>
      {status?.message && <Notice tone={tone === "bad" ? "bad" : tone === "warn" ? "warn" : "info"}>{status.message}</Notice>}
      {deleting && (
        <Confirm
          title={`Delete ${system.name}?`}
          action="Delete system"
          danger
          onClose={() => setDeleting(false)}
          onConfirm={async () => {
            await api.deleteSystem({ name: system.name, etag: system.etag });
            navigate(paths.systems());
          }}
        >
          <p>Its nodes stop on every device and its revisions are forgotten.</p>
        </Confirm>
      )}
    </>
  );
}

function Overview({ system }: { system: System }) {
  const [picked, setPicked] = useState<Picked>(null);
  const [device, setDevice] = useState("");
  const [ways, setWays] = useState<Record<string, Hop[]>>({});
  const all = system.status?.instances ?? [];
  const devices = system.status?.devices ?? [];
  const shown = device ? all.filter((instance) => instance.deviceName === device) : all;
  const views = viewsOf(system).filter((view) => !device || view.source.device === device);
  return (
    <>
      <Panel
        flush
        title="Pipeline"
        actions={
          devices.length > 1 ? (
            <select aria-label="Device" value={device} onChange={(event) => setDevice(event.target.value)}>
              <option value="">All {devices.length} devices</option>
              {devices.map((item) => (
                <option key={item.deviceId}>{item.deviceName}</option>
              ))}
            </select>
          ) : undefined
        }
      >
        <Graph system={system} instances={shown} picked={picked} onPick={setPicked} />
      </Panel>
      <PickedPanel system={system} instances={shown} picked={picked} onClose={() => setPicked(null)} />
      {views.length > 0 && (
        <div className="wall">
          {views.map((view) => (
            <Tile key={`${view.source.node}/${view.source.device}`} {...view} onHops={(hops) => setWays((old) => ({ ...old, [view.source.node]: hops }))} />
          ))}
        </div>
      )}
      {views.length > 0 && <Ways nodes={[...new Set(views.map((view) => view.source.node))]} ways={ways} />}
      <Panel title={`Instances (${shown.length})`} flush>
        <InstanceTable instances={shown} show="device" />
      </Panel>
      <Devices system={system} />
    </>
  );
}

/** The ways of sampled frames to the nodes that are looked at; the longest unless one is picked. */
function Ways({ nodes, ways }: { nodes: string[]; ways: Record<string, Hop[]> }) {
  const [picked, setPicked] = useState("");
  const longest = nodes.reduce((best, node) => ((ways[node]?.length ?? 0) > (ways[best]?.length ?? 0) ? node : best), nodes[0] ?? "");
  const node = nodes.includes(picked) ? picked : longest;
  const choice = nodes.length > 1 && (
    <Segments<string> label="Way of a frame to" current={node} onPick={setPicked} options={nodes.map((id) => ({ id, text: id }))} />
  );
  return <Waterfall key={node} node={node} hops={ways[node] ?? []} choice={choice} />;
}

function Devices({ system }: { system: System }) {
  const devices = system.status?.devices ?? [];
  return (
    <Panel title="Devices" actions={<code className="muted">{system.selector || "every device"}</code>} flush>
      {devices.length === 0 ? (
        <Empty title="No device matches">
          <p>The system starts by itself as soon as one does.</p>
        </Empty>
      ) : (
        <div className="scroll-x">
          <table>
            <thead>
              <tr>
                <th>Device</th>
                <th>State</th>
                <th className="num">Generation</th>
                <th>Message</th>
              </tr>
            </thead>
            <tbody>
              {devices.map((item) => (
                <tr key={item.deviceId}>
                  <td>
                    <Link href={paths.device(item.deviceName)}>{item.deviceName}</Link>
                  </td>
                  <td className="nowrap">
                    <Dot tone={item.ready ? "ok" : item.online ? "info" : "bad"} /> {item.ready ? "ready" : item.online ? "not ready" : "offline"}
                  </td>
                  <td className="num">
                    {String(item.observedGeneration)} of {String(item.desiredGeneration)}
                  </td>
                  <td className="muted">{item.message}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Panel>
  );
}
