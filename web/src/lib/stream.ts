// Server streams and polls as React state: reconnects with a growing wait, pauses while the page is
// hidden (a browser has six connections a server over HTTP/1.1), and feeds the connection banner.
import { useEffect, useRef, useState } from "react";

import { isNotFound, isUnreachable } from "./api";
import { auth } from "./auth";
import { sleep, waitMs } from "./backoff";
import { createStore } from "./store";

/** Since when the control plane does not answer; null: it does. */
export const lostSince = createStore<number | null>(null);

const HIDDEN_PAUSE_MS = 10_000;

export interface StreamState {
  status: "connecting" | "open" | "retrying";
  error: unknown;
}

type Open<T> = (signal: AbortSignal) => AsyncIterable<T>;

function noteReached(): void {
  lostSince.set(null);
}

function noteFailure(error: unknown): void {
  if (isUnreachable(error) && lostSince.get() === null) lostSince.set(Date.now());
}

async function runStream<T>(
  open: Open<T>,
  onMessage: (message: T, first: boolean) => void,
  onState: (state: StreamState) => void,
  signal: AbortSignal,
): Promise<void> {
  let attempt = 0;
  while (!signal.aborted) {
    let failure: unknown = null;
    try {
      let first = true;
      for await (const message of open(signal)) {
        if (signal.aborted) return;
        attempt = 0;
        noteReached();
        if (first) onState({ status: "open", error: null });
        onMessage(message, first);
        first = false;
      }
    } catch (error) {
      if (signal.aborted) return;
      failure = error;
      noteFailure(error);
    }
    if (auth.get() === "out") return;
    onState({ status: "retrying", error: failure });
    await sleep(waitMs(attempt++), signal);
  }
}

/** Whether the page is looked at, or was a moment ago. */
function useVisible(): boolean {
  const [visible, setVisible] = useState(!document.hidden);
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const change = () => {
      clearTimeout(timer);
      if (document.hidden) timer = setTimeout(() => setVisible(false), HIDDEN_PAUSE_MS);
      else setVisible(true);
    };
    document.addEventListener("visibilitychange", change);
    return () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", change);
    };
  }, []);
  return visible;
}

/**
 * Keeps a stream open for as long as the component lives; `key` names what is streamed, null: nothing.
 * `first` marks the first message of each connection.
 */
export function useStream<T>(
  key: string | null,
  open: Open<T>,
  onMessage: (message: T, first: boolean) => void,
): StreamState {
  const [state, setState] = useState<StreamState>({ status: "connecting", error: null });
  const latest = useRef({ open, onMessage });
  latest.current = { open, onMessage };
  const visible = useVisible();
  useEffect(() => {
    if (key === null || !visible) return;
    const stop = new AbortController();
    setState((old) => (old.status === "open" ? old : { status: "connecting", error: null }));
    void runStream(
      (signal) => latest.current.open(signal),
      (message, first) => latest.current.onMessage(message, first),
      setState,
      stop.signal,
    );
    return () => stop.abort();
  }, [key, visible]);
  return state;
}

export interface Watched<T> {
  value: T | undefined;
  error: unknown;
  missing: boolean;
}

/** The newest message of a stream. */
export function useWatch<T>(key: string | null, open: Open<T>): Watched<T> {
  const [held, setHeld] = useState<{ key: string | null; value: T } | undefined>(undefined);
  const state = useStream<T>(key, open, (value) => setHeld({ key, value }));
  const value = held?.key === key ? held?.value : undefined;
  return { value, error: state.error, missing: state.error !== null && isNotFound(state.error) };
}

export interface Polled<T> extends Watched<T> {
  refresh: () => void;
}

/** Asks again and again, the wait counted from the last answer. */
export function usePoll<T>(key: string | null, everyMs: number, ask: (signal: AbortSignal) => Promise<T>): Polled<T> {
  const [held, setHeld] = useState<{ key: string | null; value: T } | undefined>(undefined);
  const [error, setError] = useState<unknown>(null);
  const [round, setRound] = useState(0);
  const latest = useRef(ask);
  latest.current = ask;
  const visible = useVisible();
  useEffect(() => {
    if (key === null || !visible) return;
    const stop = new AbortController();
    void (async () => {
      let attempt = 0;
      while (!stop.signal.aborted && auth.get() !== "out") {
        try {
          const value = await latest.current(stop.signal);
          if (stop.signal.aborted) return;
          attempt = 0;
          noteReached();
          setError(null);
          setHeld({ key, value });
        } catch (failure) {
          if (stop.signal.aborted) return;
          noteFailure(failure);
          setError(failure);
          attempt++;
        }
        await sleep(attempt > 0 ? Math.max(everyMs, waitMs(attempt - 1)) : everyMs, stop.signal);
      }
    })();
    return () => stop.abort();
  }, [key, visible, everyMs, round]);
  const value = held?.key === key ? held?.value : undefined;
  return {
    value,
    error,
    missing: error !== null && isNotFound(error),
    refresh: () => setRound((old) => old + 1),
  };
}

/** The time, as state that moves every `everyMs`. */
export function useNow(everyMs = 1000): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}
