// The fleet, watched once for the whole page, with a short history of load for the sparklines.
import type { Device } from "../gen/edgeflow/v1/device_pb";
import type { DeviceLoad } from "../gen/edgeflow/v1/status_pb";
import { api } from "./api";
import { createStore } from "./store";
import { useStream } from "./stream";

export interface Fleet {
  devices: Device[];
  history: Map<string, DeviceLoad[]>;
}

/** Samples kept a device. */
const HISTORY = 90;

export const fleet = createStore<Fleet | null>(null);
export const fleetError = createStore<unknown>(null);

function keep(devices: Device[]): void {
  const before = fleet.get()?.history ?? new Map<string, DeviceLoad[]>();
  const history = new Map<string, DeviceLoad[]>();
  for (const device of devices) {
    const held = before.get(device.id) ?? [];
    const load = device.load;
    const fresh = load && load.atUnixMs !== held[held.length - 1]?.atUnixMs;
    history.set(device.id, fresh ? [...held, load].slice(-HISTORY) : held);
  }
  const sorted = [...devices].sort((a, b) => a.name.localeCompare(b.name));
  fleet.set({ devices: sorted, history });
}

/** Keeps the watch open; used once, by the shell. */
export function useFleetWatch(): void {
  const state = useStream("fleet", (signal) => api.watchDevices({}, { signal }), (message) => {
    fleetError.set(null);
    keep(message.devices);
  });
  if (state.error && fleetError.get() !== state.error) queueMicrotask(() => fleetError.set(state.error));
}
