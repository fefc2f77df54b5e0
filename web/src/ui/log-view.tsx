// Log lines as they come: bounded, filtered, only the visible rows drawn.
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";

import type { LogLine } from "../gen/edgeflow/v1/control_pb";
import { api, errorText } from "../lib/api";
import { count } from "../lib/format";
import { addLines, emptyLog, MAX_LINES, type LogBuffer, type ShownLine } from "../lib/log-buffer";
import { useStream } from "../lib/stream";
import { Empty } from "./parts";

const ROW = 20;
const OVERSCAN = 12;
const FLUSH_MS = 120;
const TAIL = 500;

export interface LogSource {
  system?: string;
  node?: string;
  device?: string;
  instance?: string;
}

/** Collects a stream's lines and hands them on a few times a second. */
function useLines(source: LogSource) {
  const [buffer, setBuffer] = useState<LogBuffer>(emptyLog);
  const waiting = useRef<LogLine[]>([]);
  const lastAt = useRef(0n);
  const key = JSON.stringify(source);
  useEffect(() => {
    setBuffer(emptyLog);
    waiting.current = [];
    lastAt.current = 0n;
    const timer = setInterval(() => {
      if (waiting.current.length === 0) return;
      const fresh = waiting.current;
      waiting.current = [];
      setBuffer((old) => addLines(old, fresh));
    }, FLUSH_MS);
    return () => clearInterval(timer);
  }, [key]);
  const state = useStream(
    key,
    (signal) => api.logs({ ...source, follow: true, tail: TAIL, sinceUnixMs: lastAt.current ? lastAt.current + 1n : 0n }, { signal }),
    (line) => {
      if (line.atUnixMs > lastAt.current) lastAt.current = line.atUnixMs;
      waiting.current.push(line);
      if (waiting.current.length > MAX_LINES) waiting.current = waiting.current.slice(-MAX_LINES);
    },
  );
  const clear = useCallback(() => setBuffer((old) => ({ ...emptyLog, nextId: old.nextId })), []);
  return { buffer, state, clear };
}

export function LogView({ source, height }: { source: LogSource; height?: string }) {
  const { buffer, state, clear } = useLines(source);
  const [text, setText] = useState("");
  const [level, setLevel] = useState("");
  const [follow, setFollow] = useState(true);
  const shown = useMemo(() => filterLines(buffer.lines, text, level), [buffer, text, level]);
  return (
    <section className="panel logs" style={height ? { height, flex: "none" } : undefined} aria-label="Log">
      <header>
        <input type="search" className="grow" aria-label="Filter lines" placeholder="Filter text" value={text} onChange={(event) => setText(event.target.value)} />
        <select aria-label="Level" value={level} onChange={(event) => setLevel(event.target.value)}>
          <option value="">All levels</option>
          <option value="info">Info and worse</option>
          <option value="warn">Warnings and errors</option>
          <option value="error">Errors</option>
        </select>
        <label className="check">
          <input type="checkbox" checked={follow} onChange={(event) => setFollow(event.target.checked)} /> Follow
        </label>
        <button type="button" className="button small" onClick={clear} disabled={buffer.lines.length === 0}>
          Clear
        </button>
      </header>
      <Rows lines={shown} follow={follow} onFollow={setFollow} needle={text.toLowerCase()} empty={emptyText(buffer.lines.length, state.status)} />
      <div className="status-line" role="status">
        <span>{state.status === "open" ? "live" : state.status === "connecting" ? "waiting for lines" : state.error ? errorText(state.error) : "the log ended; asking again"}</span>
        <span>
          {count(shown.length)} of {count(buffer.lines.length)} lines
        </span>
        {buffer.forgotten > 0 && <span>{count(buffer.forgotten)} older lines let go</span>}
      </div>
    </section>
  );
}

function emptyText(held: number, status: string): string {
  if (held > 0) return "No line fits the filter";
  return status === "retrying" ? "No lines" : "No lines yet";
}

const RANK: Record<string, number> = { error: 3, warn: 2, info: 1 };

function filterLines(lines: ShownLine[], text: string, level: string): ShownLine[] {
  const needle = text.toLowerCase();
  const least = RANK[level] ?? 0;
  if (!needle && !least) return lines;
  return lines.filter((line) => (RANK[line.level] ?? 0) >= least && line.lower.includes(needle));
}

function Rows({ lines, follow, onFollow, needle, empty }: { lines: ShownLine[]; follow: boolean; onFollow: (on: boolean) => void; needle: string; empty: string }) {
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [tall, setTall] = useState(600);
  const firstId = lines[0]?.id ?? 0;
  const heldFirst = useRef(firstId);
  useEffect(() => {
    const target = box.current;
    if (!target) return;
    const observer = new ResizeObserver(() => setTall(target.clientHeight));
    observer.observe(target);
    return () => observer.disconnect();
  }, []);
  useLayoutEffect(() => {
    const target = box.current;
    if (!target) return;
    if (follow) target.scrollTop = lines.length * ROW;
    else if (heldFirst.current && firstId > heldFirst.current) target.scrollTop -= (firstId - heldFirst.current) * ROW;
    heldFirst.current = firstId;
  }, [lines, follow, firstId]);
  const scrolled = () => {
    const target = box.current;
    if (!target) return;
    const atEnd = target.scrollHeight - target.scrollTop - target.clientHeight < ROW * 2;
    if (target.scrollTop < top && !atEnd && follow) onFollow(false);
    else if (atEnd && !follow && target.scrollTop > top) onFollow(true);
    setTop(target.scrollTop);
  };
  const from = Math.max(0, Math.floor(top / ROW) - OVERSCAN);
  const to = Math.min(lines.length, Math.ceil((top + tall) / ROW) + OVERSCAN);
  return (
    <div className="log-view" ref={box} onScroll={scrolled} tabIndex={0} role="log" aria-live="off" aria-label="Lines">
      {lines.length === 0 ? <Empty title={empty} /> : <div style={{ height: lines.length * ROW }} />}
      {lines.slice(from, to).map((line, index) => (
        <div key={line.id} className={`log-line ${line.level}`} style={{ top: (from + index) * ROW }} title={line.fields ? `${line.message}\n${line.fields}` : line.message}>
          <time>{line.time}</time>
          <span className="src">{line.source}</span>
          <span className="lvl">{line.level}</span>
          <span className="txt">
            <Marked text={line.message} needle={needle} />
            {line.fields && (
              <span className="fields">
                {"  "}
                <Marked text={line.fields} needle={needle} />
              </span>
            )}
          </span>
        </div>
      ))}
    </div>
  );
}

function Marked({ text, needle }: { text: string; needle: string }) {
  const at = needle ? text.toLowerCase().indexOf(needle) : -1;
  if (at < 0) return <>{text}</>;
  return (
    <>
      {text.slice(0, at)}
      <mark>{text.slice(at, at + needle.length)}</mark>
      {text.slice(at + needle.length)}
    </>
  );
}
