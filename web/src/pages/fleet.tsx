// Every device: how many are in which state, and which ones need a look.
import { useState } from "react";

import { DeviceHealth, type Device } from "../gen/edgeflow/v1/device_pb";
import { InstancePhase, type DeviceLoad } from "../gen/edgeflow/v1/status_pb";
import { fleet, fleetError } from "../lib/fleet";
import { ago, bytes, percent, plural } from "../lib/format";
import { deviceHealth, matches, searchText } from "../lib/model";
import { Link, navigate, paths, setQuery, useLocation } from "../lib/router";
import { useStore } from "../lib/store";
import { useNow } from "../lib/stream";
import { AddDevice, AddDeviceDialog } from "../ui/add-device";
import { Dot, Empty, Labels, Loading, Panel, Segments, Spark, Tag } from "../ui/parts";

const STATES = [DeviceHealth.READY, DeviceHealth.DEGRADED, DeviceHealth.OFFLINE, DeviceHealth.PENDING];

export function FleetPage() {
  const held = useStore(fleet);
  const error = useStore(fleetError);
  const { query } = useLocation();
  const [adding, setAdding] = useState(false);
  if (!held) return <Loading what="The fleet" error={error} />;
  if (held.devices.length === 0) return <NoDevices />;
  const text = query.get("q") ?? "";
  const health = query.get("health") ?? "";
  const view = query.get("view") === "grid" ? "grid" : "table";
  const found = held.devices.filter((device) => fits(device, text, health));
  const pick = (pair: string) => setQuery({ q: text.split(/\s+/).includes(pair) ? text : `${text} ${pair}`.trim() });
  return (
    <>
      <div className="head">
        <h1>Fleet</h1>
        <span className="muted">{plural(held.devices.length, "device")}</span>
        <span className="grow" />
        <input type="search" aria-label="Filter devices" placeholder="Filter: name, label, version…" value={text} onChange={(event) => setQuery({ q: event.target.value })} />
        <Segments label="View" current={view} onPick={(id) => setQuery({ view: id === "grid" ? "grid" : "" })} options={[{ id: "table", text: "Table" }, { id: "grid", text: "Grid" }]} />
        <button type="button" className="button" onClick={() => setAdding(true)}>
          Add device
        </button>
      </div>
      <Counts devices={held.devices} health={health} />
      <Versions devices={held.devices} onPick={(version) => setQuery({ q: version })} />
      {found.length === 0 ? (
        <Panel>
          <Empty title="No device fits the filter">
            <button type="button" className="button" onClick={() => setQuery({ q: "", health: "" })}>
              Show all devices
            </button>
          </Empty>
        </Panel>
      ) : view === "grid" ? (
        <div className="cards">
          {found.map((device) => (
            <DeviceCard key={device.id} device={device} history={held.history.get(device.id) ?? []} onPick={pick} />
          ))}
        </div>
      ) : (
        <DeviceTable devices={found} history={held.history} onPick={pick} />
      )}
      {adding && <AddDeviceDialog onClose={() => setAdding(false)} />}
    </>
  );
}

function fits(device: Device, text: string, health: string): boolean {
  if (health && deviceHealth(device.health).text !== health) return false;
  const facts = device.facts;
  return matches(searchText([device.name, device.id, facts?.agentVersion, facts?.model, facts?.arch, facts?.os, deviceHealth(device.health).text], device.labels), text);
}

function NoDevices() {
  return (
    <>
      <div className="head">
        <h1>Fleet</h1>
      </div>
      <Panel>
        <Empty title="No device has joined yet">
          <p>Run the agent on a machine with a join token, and it appears here within seconds.</p>
          <AddDevice />
        </Empty>
      </Panel>
    </>
  );
}

function Counts({ devices, health }: { devices: Device[]; health: string }) {
  return (
    <div className="counts">
      {STATES.map((state) => {
        const { text, tone } = deviceHealth(state);
        const n = devices.filter((device) => device.health === state).length;
        return (
          <button key={text} type="button" className="count" aria-pressed={health === text} onClick={() => setQuery({ health: health === text ? "" : text })}>
            <b>{n}</b>
            <span>
              <Dot tone={n > 0 ? tone : "off"} />
              {text}
            </span>
          </button>
        );
      })}
    </div>
  );
}

/** Shown only while agents differ in version. */
function Versions({ devices, onPick }: { devices: Device[]; onPick: (version: string) => void }) {
  const counts = new Map<string, number>();
  for (const device of devices) {
    const version = device.facts?.agentVersion;
    if (version) counts.set(version, (counts.get(version) ?? 0) + 1);
  }
  if (counts.size < 2) return null;
  const sorted = [...counts].sort(([a], [b]) => b.localeCompare(a, undefined, { numeric: true }));
  return (
    <div className="row muted">
      Agent versions:
      {sorted.map(([version, n]) => (
        <button key={version} type="button" className="label" onClick={() => onPick(version)}>
          {version} × {n}
        </button>
      ))}
    </div>
  );
}

export function readyText(device: Device): string {
  const ready = device.instances.filter((instance) => instance.phase === InstancePhase.READY).length;
  return `${ready}/${device.instances.length}`;
}

function Health({ device }: { device: Device }) {
  const { text, tone } = deviceHealth(device.health);
  return <Tag tone={tone}>{text}</Tag>;
}

function CpuMeter({ load, history }: { load: DeviceLoad | undefined; history: DeviceLoad[] }) {
  if (!load) return <span className="faint">–</span>;
  return (
    <div className="meter">
      <small>CPU</small>
      <span>{percent(load.cpu)}</span>
      <Spark values={history.map((sample) => sample.cpu)} max={1} label={`CPU ${percent(load.cpu)}`} />
    </div>
  );
}

function memoryShare(load: DeviceLoad): number {
  const total = Number(load.memoryTotalBytes);
  return total > 0 ? Number(load.memoryUsedBytes) / total : 0;
}

function MemoryMeter({ load, history }: { load: DeviceLoad | undefined; history: DeviceLoad[] }) {
  if (!load) return <span className="faint">–</span>;
  return (
    <div className="meter" title={`${bytes(load.memoryUsedBytes)} of ${bytes(load.memoryTotalBytes)}`}>
      <small>Mem</small>
      <span>{percent(memoryShare(load))}</span>
      <Spark values={history.map(memoryShare)} max={1} label={`Memory ${percent(memoryShare(load))}`} />
    </div>
  );
}

function TemperatureMeter({ load, history }: { load: DeviceLoad | undefined; history: DeviceLoad[] }) {
  const now = load?.temperatureCelsius;
  if (now === undefined) return <span className="faint" title="The device reports no temperature">–</span>;
  return (
    <div className="meter">
      <small>Temp</small>
      <span className={now >= 85 ? "bad" : now >= 75 ? "warn" : ""}>{now.toFixed(0)} °C</span>
      <Spark values={history.map((sample) => sample.temperatureCelsius ?? 0)} max={100} label={`${now.toFixed(0)} °C`} />
    </div>
  );
}

function DeviceTable({ devices, history, onPick }: { devices: Device[]; history: Map<string, DeviceLoad[]>; onPick: (pair: string) => void }) {
  const now = useNow();
  return (
    <Panel flush>
      <div className="scroll-x">
        <table>
          <thead>
            <tr>
              <th>Device</th>
              <th>Health</th>
              <th className="num" title="Instances ready of those desired">Instances</th>
              <th className="hide-s">CPU</th>
              <th className="hide-s">Memory</th>
              <th className="hide-s">Temperature</th>
              <th className="hide-s">Agent</th>
              <th className="hide-s">Last seen</th>
            </tr>
          </thead>
          <tbody>
            {devices.map((device) => {
              const samples = history.get(device.id) ?? [];
              return (
                <tr key={device.id} className="link" onClick={(event) => !(event.target as HTMLElement).closest("a") && navigate(paths.device(device.name))}>
                  <td>
                    <div className="stack" style={{ gap: 4 }}>
                      <Link href={paths.device(device.name)}>
                        <b>{device.name}</b>
                      </Link>
                      <span className="faint">{[device.facts?.model || device.facts?.os, device.facts?.arch].filter(Boolean).join(" · ")}</span>
                      <Labels labels={device.labels} onPick={onPick} />
                      {device.message && device.health !== DeviceHealth.READY && <span className="muted clamp" title={device.message}>{device.message}</span>}
                    </div>
                  </td>
                  <td>
                    <Health device={device} />
                  </td>
                  <td className="num">{readyText(device)}</td>
                  <td className="hide-s"><CpuMeter load={device.load} history={samples} /></td>
                  <td className="hide-s"><MemoryMeter load={device.load} history={samples} /></td>
                  <td className="hide-s"><TemperatureMeter load={device.load} history={samples} /></td>
                  <td className="hide-s nowrap">{device.facts?.agentVersion || "–"}</td>
                  <td className="hide-s nowrap muted">{device.online ? "online" : ago(device.lastSeenUnixMs, now) || "never"}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}

function DeviceCard({ device, history, onPick }: { device: Device; history: DeviceLoad[]; onPick: (pair: string) => void }) {
  const { tone } = deviceHealth(device.health);
  return (
    <Link href={paths.device(device.name)} className="card">
      <span className="title">
        <Dot tone={tone} />
        <span className="grow">{device.name}</span>
        <Health device={device} />
      </span>
      <span className="faint">{[device.facts?.model || device.facts?.os, device.facts?.arch, `${readyText(device)} instances`].filter(Boolean).join(" · ")}</span>
      <div className="trio">
        <CpuMeter load={device.load} history={history} />
        <MemoryMeter load={device.load} history={history} />
        <TemperatureMeter load={device.load} history={history} />
      </div>
      <Labels labels={device.labels} onPick={onPick} />
    </Link>
  );
}
