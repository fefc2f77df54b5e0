// Small parts that pages share. No data fetching here.
import { useEffect, useRef, useState, type KeyboardEvent, type ReactNode } from "react";

import { errorText } from "../lib/api";
import type { Tone } from "../lib/model";

export function Tag({ tone = "off", children, title }: { tone?: Tone; children: ReactNode; title?: string }) {
  return (
    <span className={`tag ${tone}`} title={title}>
      {children}
    </span>
  );
}

export function Dot({ tone }: { tone: Tone }) {
  return <span className={`dot ${tone}`} aria-hidden="true" />;
}

export function Panel({ title, actions, children, flush }: { title?: ReactNode; actions?: ReactNode; children: ReactNode; flush?: boolean }) {
  return (
    <section className="panel">
      {(title !== undefined || actions !== undefined) && (
        <header>
          <h2 className="grow">{title}</h2>
          {actions}
        </header>
      )}
      {flush ? children : <div className="body">{children}</div>}
    </section>
  );
}

export function Notice({ tone = "info", children }: { tone?: Tone; children: ReactNode }) {
  return (
    <div className={`notice ${tone}`} role={tone === "bad" ? "alert" : "status"}>
      {children}
    </div>
  );
}

export function Failure({ error, what }: { error: unknown; what: string }) {
  return (
    <Notice tone="bad">
      <b>{what}</b> {errorText(error)}
    </Notice>
  );
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

/** While the first answer is awaited; nothing for the first moment, so that fast answers don't flicker. */
export function Loading({ error, what }: { error?: unknown; what: string }) {
  const [late, setLate] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setLate(true), 250);
    return () => clearTimeout(timer);
  }, []);
  if (error) return <Failure error={error} what={`${what} can't be loaded.`} />;
  return late ? <div className="skeleton" role="status" aria-label={`Loading ${what}`} /> : null;
}

export function Labels({ labels, onPick }: { labels: { [key: string]: string }; onPick?: (pair: string) => void }) {
  const pairs = Object.entries(labels).sort(([a], [b]) => a.localeCompare(b));
  if (pairs.length === 0) return null;
  return (
    <span className="labels">
      {pairs.map(([key, value]) => {
        const pair = `${key}=${value}`;
        if (!onPick) return <span key={key} className="label" title={pair}>{pair}</span>;
        const pick = (event: { stopPropagation(): void; preventDefault(): void }) => {
          event.stopPropagation();
          event.preventDefault();
          onPick(pair);
        };
        return (
          <button key={key} type="button" className="label" title={`Filter by ${pair}`} onClick={pick}>
            {pair}
          </button>
        );
      })}
    </span>
  );
}

export function Tabs({ tabs, current, onPick, label }: { tabs: { id: string; text: ReactNode }[]; current: string; onPick: (id: string) => void; label: string }) {
  const move = (event: KeyboardEvent<HTMLDivElement>) => {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (!step) return;
    const at = tabs.findIndex((tab) => tab.id === current);
    const next = tabs[(at + step + tabs.length) % tabs.length];
    if (!next) return;
    onPick(next.id);
    event.currentTarget.querySelector<HTMLButtonElement>(`[data-tab="${next.id}"]`)?.focus();
  };
  return (
    <div className="tabs" role="tablist" aria-label={label} onKeyDown={move}>
      {tabs.map((tab) => (
        <button
          key={tab.id}
          type="button"
          role="tab"
          data-tab={tab.id}
          aria-selected={tab.id === current}
          tabIndex={tab.id === current ? 0 : -1}
          onClick={() => onPick(tab.id)}
        >
          {tab.text}
        </button>
      ))}
    </div>
  );
}

export function Segments<T extends string>({ options, current, onPick, label }: { options: { id: T; text: string }[]; current: T; onPick: (id: T) => void; label: string }) {
  return (
    <div className="segments" role="group" aria-label={label}>
      {options.map((option) => (
        <button key={option.id} type="button" aria-pressed={option.id === current} onClick={() => onPick(option.id)}>
          {option.text}
        </button>
      ))}
    </div>
  );
}

export function Bar({ share, label }: { share: number; label: string }) {
  const value = Math.min(1, Math.max(0, share));
  const tone = value >= 0.95 ? "bad" : value >= 0.85 ? "warn" : "";
  return (
    <div className="bar" role="img" aria-label={label}>
      <i className={tone} style={{ width: `${value * 100}%` }} />
    </div>
  );
}

/** A line over time, `max` at the top edge. */
export function Spark({ values, max, label }: { values: number[]; max: number; label: string }) {
  const shown = values.length > 1 ? values : [values[0] ?? 0, values[0] ?? 0];
  const points = shown.map((value, index) => {
    const x = (index / (shown.length - 1)) * 100;
    const y = 21 - Math.min(1, Math.max(0, value / (max || 1))) * 20;
    return `${x.toFixed(1)} ${y.toFixed(1)}`;
  });
  const line = `M${points.join("L")}`;
  return (
    <svg className="spark" viewBox="0 0 100 22" preserveAspectRatio="none" role="img" aria-label={label}>
      <path className="area" d={`${line}L100 22L0 22Z`} />
      <path d={line} />
    </svg>
  );
}

export function CopyCommand({ text }: { text: string }) {
  const [copied, setCopied] = useState(false);
  const copy = () => {
    navigator.clipboard?.writeText(text).then(
      () => {
        setCopied(true);
        setTimeout(() => setCopied(false), 1500);
      },
      () => setCopied(false),
    );
  };
  return (
    <div className="command">
      <code className="grow">{text}</code>
      <button type="button" onClick={copy} aria-label="Copy the command">
        {copied ? "copied" : "copy"}
      </button>
    </div>
  );
}

/** A modal dialog: Escape and the veil close it, the focus stays in and goes back after. */
export function Dialog({ title, children, onClose, className = "" }: { title: string; children: ReactNode; onClose: () => void; className?: string }) {
  const box = useRef<HTMLDivElement>(null);
  const close = useRef(onClose);
  close.current = onClose;
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    const first = box.current?.querySelector<HTMLElement>("[autofocus], input, button, select, textarea, a");
    first?.focus();
    const key = (event: globalThis.KeyboardEvent) => {
      if (event.key === "Escape") close.current();
      if (event.key === "Tab" && box.current) keepFocus(event, box.current);
    };
    document.addEventListener("keydown", key);
    return () => {
      document.removeEventListener("keydown", key);
      before?.focus?.();
    };
  }, []);
  return (
    <div className="veil" onMouseDown={(event) => event.target === event.currentTarget && onClose()}>
      <div ref={box} className={`dialog ${className}`} role="dialog" aria-modal="true" aria-label={title}>
        {children}
      </div>
    </div>
  );
}

function keepFocus(event: globalThis.KeyboardEvent, box: HTMLElement): void {
  const all = [...box.querySelectorAll<HTMLElement>("input, button:not(:disabled), select, textarea, a[href]")];
  const first = all[0];
  const last = all[all.length - 1];
  if (!first || !last) return;
  const at = document.activeElement;
  if (event.shiftKey && at === first) {
    event.preventDefault();
    last.focus();
  } else if (!event.shiftKey && at === last) {
    event.preventDefault();
    first.focus();
  }
}

/** Asks before something that can't be taken back with one click. */
export function Confirm({ title, children, action, danger, onConfirm, onClose }: { title: string; children: ReactNode; action: string; danger?: boolean; onConfirm: () => Promise<void>; onClose: () => void }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const go = async () => {
    setBusy(true);
    setError(null);
    try {
      await onConfirm();
      onClose();
    } catch (failure) {
      setError(failure);
      setBusy(false);
    }
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <div className="body">
        <h1>{title}</h1>
        {children}
        {error !== null && <Failure error={error} what="That did not work." />}
        <div className="actions">
          <button type="button" className="button" onClick={onClose}>
            Cancel
          </button>
          <button type="button" className={`button ${danger ? "danger" : "primary"}`} disabled={busy} onClick={() => void go()}>
            {busy ? "Working…" : action}
          </button>
        </div>
      </div>
    </Dialog>
  );
}
