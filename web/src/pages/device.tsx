// One device: what it is, how it does, what runs on it.
import { lazy, Suspense, useState, type ReactNode } from "react";

import type { Device } from "../gen/edgeflow/v1/device_pb";
import type { DeviceLoad } from "../gen/edgeflow/v1/status_pb";
import { api } from "../lib/api";
import { fleet, fleetError } from "../lib/fleet";
import { ago, bytes, dateTime, percent, plural, words } from "../lib/format";
import { deviceHealth } from "../lib/model";
import { Link, navigate, paths, setQuery, useLocation } from "../lib/router";
import { useStore } from "../lib/store";
import { useNow, usePoll } from "../lib/stream";
import { CamerasPanel } from "../ui/cameras";
import { EventsPanel } from "../ui/event-list";
import { InstanceTable } from "../ui/instances";
import { LogView } from "../ui/log-view";
import { Confirm, Empty, Labels, Loading, Notice, Panel, Tabs, Tag } from "../ui/parts";

const Chart = lazy(() => import("../ui/chart"));

export function DevicePage({ name }: { name: string }) {
  const held = useStore(fleet);
  const error = useStore(fleetError);
  const { query } = useLocation();
  if (!held) return <Loading what="The device" error={error} />;
  const device = held.devices.find((item) => item.name === name || item.id === name);
  if (!device) {
    return (
      <Panel>
        <Empty title={`No device is named ${name}`}>
          <Link href={paths.fleet()} className="button">
            Go to the fleet
          </Link>
        </Empty>
      </Panel>
    );
  }
  const tab = query.get("tab") ?? "overview";
  return (
    <>
      <Head device={device} />
      <Tabs label="Device" current={tab} onPick={(id) => setQuery({ tab: id === "overview" ? "" : id })} tabs={[{ id: "overview", text: "Overview" }, { id: "logs", text: "Logs" }, { id: "events", text: "Events" }]} />
      {tab === "logs" ? <DeviceLogs device={device} /> : tab === "events" ? <EventsPanel device={device.name} /> : <Overview device={device} />}
    </>
  );
}

function Head({ device }: { device: Device }) {
  const { text, tone } = deviceHealth(device.health);
  const now = useNow();
  const [removing, setRemoving] = useState(false);
  return (
    <>
      <div className="head">
        <h1>{device.name}</h1>
        <Tag tone={tone}>{text}</Tag>
        <Labels labels={device.labels} onPick={(pair) => navigate(`${paths.fleet()}?q=${encodeURIComponent(pair)}`)} />
        <span className="grow" />
        <span className="muted">{device.online ? "connected" : `last seen ${ago(device.lastSeenUnixMs, now) || "never"}`}</span>
        <button type="button" className="button danger small" onClick={() => setRemoving(true)}>
          Remove
        </button>
      </div>
      {device.message && <Notice tone={tone === "ok" ? "info" : tone === "bad" ? "bad" : "warn"}>{device.message}</Notice>}
      {removing && (
        <Confirm title={`Remove ${device.name}?`} action="Remove device" danger onClose={() => setRemoving(false)} onConfirm={async () => {
          await api.deleteDevice({ device: device.id });
          navigate(paths.fleet());
        }}>
          <p>Its certificate is revoked and its session closed. Node processes that run there keep running until the agent is stopped. To come back it has to join with a new token.</p>
        </Confirm>
      )}
    </>
  );
}

function Overview({ device }: { device: Device }) {
  return (
    <>
      {device.conditions.length > 0 && (
        <div className="stack" style={{ gap: 8 }}>
          {device.conditions.map((condition) => (
            <Notice key={condition.type} tone="warn">
              <b>{words(condition.type)}:</b> {condition.message} <span className="faint">since {dateTime(condition.sinceUnixMs)}</span>
            </Notice>
          ))}
        </div>
      )}
      <Load device={device} />
      <Panel title={`Instances (${device.instances.length})`} flush>
        <InstanceTable instances={device.instances} show="system" />
      </Panel>
      <CamerasPanel device={device} />
      <div className="grid2">
        <Panel title="Facts">
          <Facts device={device} />
        </Panel>
        <Accelerators device={device} />
      </div>
    </>
  );
}

function Facts({ device }: { device: Device }) {
  const facts = device.facts;
  const desired = device.desiredGeneration;
  const rows: [string, ReactNode][] = [
    ["Model", facts?.model],
    ["Host name", facts?.hostname],
    ["System", [facts?.os, facts?.kernel].filter(Boolean).join(" · ")],
    ["Processor", facts ? `${plural(facts.cpus, "core")}, ${facts.arch}` : ""],
    ["Memory", facts?.memoryBytes ? bytes(facts.memoryBytes) : ""],
    ["Agent", facts?.agentVersion],
    ["Assignment", `generation ${device.observedGeneration} of ${desired}${device.observedGeneration === desired ? "" : " (not there yet)"}`],
    ["Id", <code key="id">{device.id}</code>],
    ["Enrolled", dateTime(device.enrolledUnixMs)],
    ["Certificate until", dateTime(device.certificateExpiresUnixMs)],
  ];
  return (
    <dl className="facts">
      {rows.map(([key, value]) =>
        value ? (
          <FactRow key={key} name={key}>
            {value}
          </FactRow>
        ) : null,
      )}
    </dl>
  );
}

function FactRow({ name, children }: { name: string; children: ReactNode }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </>
  );
}

function Accelerators({ device }: { device: Device }) {
  const accelerators = device.facts?.accelerators ?? [];
  return (
    <Panel title="Accelerators" flush>
      {accelerators.length === 0 ? (
        <Empty title="No accelerator found" />
      ) : (
        <table>
          <tbody>
            {accelerators.map((item) => (
              <tr key={`${item.kind} ${item.name}`}>
                <td className="mono">{item.kind}</td>
                <td>{item.name}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Panel>
  );
}

function Load({ device }: { device: Device }) {
  const load = usePoll(`load ${device.id}`, 2000, (signal) => api.getDeviceLoad({ device: device.id }, { signal }));
  const samples = load.value?.samples;
  if (!samples) return <Loading what="The load" error={load.error} />;
  if (samples.length === 0) {
    return (
      <Panel>
        <Empty title="No load has been reported yet" />
      </Panel>
    );
  }
  return <Charts samples={samples} />;
}

function Charts({ samples }: { samples: DeviceLoad[] }) {
  const times = samples.map((sample) => Number(sample.atUnixMs) / 1000);
  const newest = samples[samples.length - 1];
  if (!newest) return null;
  const hasTemperature = samples.some((sample) => sample.temperatureCelsius !== undefined);
  return (
    <div className="grid3">
      <ChartPanel title="CPU" now={`${percent(newest.cpu)} · load ${newest.load1.toFixed(2)}`}>
        <Chart label="CPU over time" times={times} max={1} show={percent} lines={[{ label: "CPU", colour: "--accent", values: samples.map((sample) => sample.cpu) }]} />
      </ChartPanel>
      <ChartPanel title="Memory" now={`${bytes(newest.memoryUsedBytes)} of ${bytes(newest.memoryTotalBytes)}`}>
        <Chart label="Memory over time" times={times} max={Number(newest.memoryTotalBytes) || 1} show={bytes} lines={[{ label: "used", colour: "--accent", values: samples.map((sample) => Number(sample.memoryUsedBytes)) }]} />
      </ChartPanel>
      {hasTemperature && (
        <ChartPanel title="Temperature" now={newest.temperatureCelsius === undefined ? "" : `${newest.temperatureCelsius.toFixed(1)} °C`}>
          <Chart label="Temperature over time" times={times} max={100} show={(value) => `${value.toFixed(0)} °C`} lines={[{ label: "hottest zone", colour: "--warn", values: samples.map((sample) => sample.temperatureCelsius ?? null) }]} />
        </ChartPanel>
      )}
      <ChartPanel title="Disk" now={`${bytes(newest.diskUsedBytes)} of ${bytes(newest.diskTotalBytes)}`}>
        <Chart label="Disk over time" times={times} max={Number(newest.diskTotalBytes) || 1} show={bytes} lines={[{ label: "used", colour: "--info", values: samples.map((sample) => Number(sample.diskUsedBytes)) }]} />
      </ChartPanel>
    </div>
  );
}

function ChartPanel({ title, now, children }: { title: string; now: string; children: ReactNode }) {
  return (
    <Panel title={title} actions={<span className="muted">{now}</span>}>
      <Suspense fallback={<div style={{ height: 140 }} />}>{children}</Suspense>
    </Panel>
  );
}

function DeviceLogs({ device }: { device: Device }) {
  const systems = [...new Set(device.instances.map((instance) => instance.system))].sort();
  const { query } = useLocation();
  const chosen = query.get("system") ?? systems[0] ?? "";
  if (systems.length === 0) {
    return (
      <Panel>
        <Empty title="Nothing runs here, so nothing is logged" />
      </Panel>
    );
  }
  return (
    <>
      {systems.length > 1 && (
        <div className="row">
          <label className="check">
            System
            <select value={chosen} onChange={(event) => setQuery({ system: event.target.value })}>
              {systems.map((system) => (
                <option key={system}>{system}</option>
              ))}
            </select>
          </label>
        </div>
      )}
      <LogView source={{ system: chosen, device: device.name }} />
    </>
  );
}
