// What happened, newest first, as it happens.
import { useEffect, useState } from "react";

import type { Event } from "../gen/edgeflow/v1/control_pb";
import { api } from "../lib/api";
import { ago, dateTime, words } from "../lib/format";
import type { Tone } from "../lib/model";
import { Link, paths } from "../lib/router";
import { useNow, useStream } from "../lib/stream";
import { Dot, Empty, Failure } from "./parts";

const KEPT = 1000;
const TAIL = 300;

const TONES: Record<string, Tone> = { info: "info", warning: "warn", error: "bad" };

export function useEvents(system: string, device: string) {
  const [events, setEvents] = useState<Event[]>([]);
  const [opened, setOpened] = useState(false);
  const key = `events ${system} ${device}`;
  useEffect(() => {
    setEvents([]);
    // A stream without any past event says nothing; after a moment that means: none.
    const timer = setTimeout(() => setOpened(true), 1200);
    return () => clearTimeout(timer);
  }, [key]);
  const state = useStream(
    key,
    (signal) => api.watchEvents({ system, device, tail: TAIL, follow: true }, { signal }),
    (event) => {
      setEvents((old) => (old.some((held) => held.id === event.id) ? old : [event, ...old].sort((a, b) => Number(b.id - a.id)).slice(0, KEPT)));
    },
  );
  return { events, opened: opened || events.length > 0, error: state.status === "retrying" ? state.error : null };
}

export function EventList({ events, linkSystem = true }: { events: Event[]; linkSystem?: boolean }) {
  const now = useNow(5000);
  return (
    <div>
      {events.map((event) => (
        <EventRow key={String(event.id)} event={event} now={now} linkSystem={linkSystem} />
      ))}
    </div>
  );
}

function EventRow({ event, now, linkSystem }: { event: Event; now: number; linkSystem: boolean }) {
  return (
    <article className="event">
      <time className="muted nowrap" title={ago(event.atUnixMs, now)}>
        {dateTime(event.atUnixMs)}
      </time>
      <Dot tone={TONES[event.severity] ?? "off"} />
      <b className="why" title={event.severity}>
        {words(event.reason)}
      </b>
      <div className="what">
        {event.message}{" "}
        <span className="row faint" style={{ display: "inline-flex", gap: 8 }}>
          {linkSystem && event.system && <Link href={paths.system(event.system)}>{event.system}</Link>}
          {event.instance ? <span>{event.instance}</span> : event.node ? <span>{event.node}</span> : null}
          {event.deviceName && <Link href={paths.device(event.deviceName)}>{event.deviceName}</Link>}
        </span>
        {event.hasPicture && (
          <a href={`/events/${event.id}/picture`} target="_blank" rel="noreferrer">
            <img className="event-picture" src={`/events/${event.id}/picture`} alt={`Picture of ${words(event.reason)}`} loading="lazy" />
          </a>
        )}
        {event.details.length > 0 && (
          <details>
            <summary>details ({event.details.length})</summary>
            <pre className="logtail">{event.details.join("\n")}</pre>
          </details>
        )}
      </div>
    </article>
  );
}

export function EventsPanel({ system = "", device = "" }: { system?: string; device?: string }) {
  const { events, opened, error } = useEvents(system, device);
  return (
    <section className="panel" aria-label="Events">
      {error !== null && <Failure error={error} what="New events can't be read." />}
      {events.length === 0 ? opened && <Empty title="Nothing has happened yet" /> : <EventList events={events} linkSystem={!system} />}
    </section>
  );
}
