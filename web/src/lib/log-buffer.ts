// The newest lines of a log, bounded. Pure.
import type { LogLine } from "../gen/edgeflow/v1/control_pb";
import { logTime, splitLog, type Level } from "./format";

export const MAX_LINES = 5000;
/** Characters of a line that are kept. */
export const MAX_CHARS = 4000;

export interface ShownLine {
  id: number;
  at: number;
  time: string;
  source: string;
  level: Level;
  message: string;
  fields: string;
  lower: string;
}

export interface LogBuffer {
  lines: ShownLine[];
  nextId: number;
  /** Lines let go because the buffer was full. */
  forgotten: number;
}

export const emptyLog: LogBuffer = { lines: [], nextId: 1, forgotten: 0 };

export function addLines(buffer: LogBuffer, fresh: LogLine[]): LogBuffer {
  let nextId = buffer.nextId;
  const added = fresh.map((line): ShownLine => {
    const text = line.text.length > MAX_CHARS ? `${line.text.slice(0, MAX_CHARS)}…` : line.text;
    // Escape sequences of terminals say nothing here.
    // eslint-disable-next-line no-control-regex
    const { level, message, fields } = splitLog(text.replace(/\u001b\[[0-9;]*m/g, ""));
    const source = withoutSystem(line.instance, line.system) || line.node || line.stream;
    return {
      id: nextId++,
      at: Number(line.atUnixMs),
      time: logTime(line.atUnixMs),
      source: line.deviceName ? `${source} @ ${line.deviceName}` : source,
      level,
      message,
      fields,
      lower: `${source} ${line.deviceName} ${message} ${fields}`.toLowerCase(),
    };
  });
  const all = [...buffer.lines, ...added];
  const over = Math.max(0, all.length - MAX_LINES);
  return { lines: over ? all.slice(over) : all, nextId, forgotten: buffer.forgotten + over };
}

/** Instances are named `system.node.replica`; a log is of one system, so its name says nothing. */
function withoutSystem(instance: string, system: string): string {
  return system && instance.startsWith(`${system}.`) ? instance.slice(system.length + 1) : instance;
}
