// Which live pictures a system offers and what its instances say about them. Pure.
import { InstancePhase, type InstanceStatus } from "../gen/edgeflow/v1/status_pb";
import type { System } from "../gen/edgeflow/v1/system_pb";
import type { TileSource } from "./live";
import { instancePhase } from "./model";

export interface View {
  source: TileSource;
  hint: string | undefined;
  loopMs: number | undefined;
}

/** One view a node and device. */
export function viewsOf(system: System): View[] {
  const out: View[] = [];
  for (const node of system.views) {
    const instances = (system.status?.instances ?? []).filter((instance) => instance.node === node);
    const devices = [...new Set(instances.map((instance) => instance.deviceName))].sort();
    const shown = devices.length > 1 ? devices : [devices[0] ?? ""];
    for (const device of shown) {
      const here = instances.filter((instance) => instance.deviceName === device);
      out.push({ source: { system: system.name, node, device }, hint: hintOf(system, here), loopMs: loopOf(here) });
    }
  }
  return out;
}

function hintOf(system: System, instances: InstanceStatus[]): string | undefined {
  if (instances.length === 0) return system.status?.message || "No instance of this node runs.";
  for (const instance of instances) {
    if (instance.stats?.condition) return instance.stats.condition;
    if (instance.phase !== InstancePhase.READY) {
      return `${instance.node} is ${instancePhase(instance.phase).text}${instance.reason ? `: ${instance.reason}` : ""}`;
    }
  }
  return undefined;
}

function loopOf(instances: InstanceStatus[]): number | undefined {
  const times = instances.map((instance) => instance.stats?.loopTime?.p50Us ?? 0).filter((us) => us > 0);
  return times.length > 0 ? Math.max(...times) / 1000 : undefined;
}
