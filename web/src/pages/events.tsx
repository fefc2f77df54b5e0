// Everything that happened, on every system and device.
import { useMemo } from "react";

import { matches } from "../lib/model";
import { setQuery, useLocation } from "../lib/router";
import { EventList, useEvents } from "../ui/event-list";
import { Empty, Failure, Panel, Segments } from "../ui/parts";

type Severity = "" | "warning" | "error";

export function EventsPage() {
  const { events, opened, error } = useEvents("", "");
  const { query } = useLocation();
  const text = query.get("q") ?? "";
  const severity = (query.get("severity") ?? "") as Severity;
  const found = useMemo(
    () =>
      events.filter((event) => {
        if (severity === "error" && event.severity !== "error") return false;
        if (severity === "warning" && event.severity === "info") return false;
        return matches([event.reason, event.message, event.system, event.instance, event.node, event.deviceName].join(" ").toLowerCase(), text);
      }),
    [events, severity, text],
  );
  return (
    <>
      <div className="head">
        <h1>Events</h1>
        <span className="grow" />
        <input type="search" aria-label="Filter events" placeholder="Filter text" value={text} onChange={(event) => setQuery({ q: event.target.value })} />
        <Segments<Severity> label="Severity" current={severity} onPick={(id) => setQuery({ severity: id })} options={[{ id: "", text: "All" }, { id: "warning", text: "Warnings" }, { id: "error", text: "Errors" }]} />
      </div>
      {error !== null && <Failure error={error} what="New events can't be read." />}
      {found.length > 0 && (
        <Panel flush>
          <EventList events={found} />
        </Panel>
      )}
      {found.length === 0 && opened && (
        <Panel>
          <Empty title={events.length > 0 ? "No event fits the filter" : "Nothing has happened yet"} />
        </Panel>
      )}
    </>
  );
}
