// Logs of any system, node and device.
import { api } from "../lib/api";
import { fleet } from "../lib/fleet";
import { setQuery, useLocation } from "../lib/router";
import { useStore } from "../lib/store";
import { usePoll } from "../lib/stream";
import { LogView } from "../ui/log-view";
import { Empty, Loading, Panel } from "../ui/parts";

export function LogsPage() {
  const { query } = useLocation();
  const devices = useStore(fleet)?.devices ?? [];
  const systems = usePoll("log systems", 10_000, (signal) => api.listSystems({}, { signal }));
  if (!systems.value) return <Loading what="The list of systems" error={systems.error} />;
  const names = systems.value.systems;
  const system = names.find((item) => item.name === query.get("system")) ?? names[0];
  const node = query.get("node") ?? "";
  const device = query.get("device") ?? "";
  return (
    <>
      <div className="head">
        <h1>Logs</h1>
        <span className="grow" />
        <Choice label="System" value={system?.name ?? ""} options={names.map((item) => item.name)} onPick={(name) => setQuery({ system: name, node: "" })} />
        <Choice label="Node" value={node} all="Every node" options={system?.nodes.map((item) => item.name) ?? []} onPick={(name) => setQuery({ node: name })} />
        <Choice label="Device" value={device} all="Every device" options={devices.map((item) => item.name)} onPick={(name) => setQuery({ device: name })} />
      </div>
      {system ? (
        <LogView source={{ system: system.name, node, device }} />
      ) : (
        <Panel>
          <Empty title="No system, no logs">
            <p>Once a system runs, what its nodes print is here.</p>
          </Empty>
        </Panel>
      )}
    </>
  );
}

function Choice({ label, value, all, options, onPick }: { label: string; value: string; all?: string; options: string[]; onPick: (value: string) => void }) {
  const known = value && !options.includes(value) ? [value, ...options] : options;
  return (
    <select aria-label={label} value={value} onChange={(event) => onPick(event.target.value)}>
      {all !== undefined && <option value="">{all}</option>}
      {known.map((option) => (
        <option key={option} value={option}>
          {option}
        </option>
      ))}
    </select>
  );
}
