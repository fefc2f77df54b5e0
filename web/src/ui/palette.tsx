// Ctrl-K: jump to a page, device or system by name.
import { useState, type KeyboardEvent } from "react";

import { api } from "../lib/api";
import { fleet } from "../lib/fleet";
import { matches } from "../lib/model";
import { navigate, paths } from "../lib/router";
import { useStore } from "../lib/store";
import { usePoll } from "../lib/stream";
import { toggleTheme } from "../lib/theme";
import { Dialog } from "./parts";

interface Item {
  text: string;
  kind: string;
  go: () => void;
}

const SHOWN = 50;

export function Palette({ onClose }: { onClose: () => void }) {
  const devices = useStore(fleet)?.devices ?? [];
  const systems = usePoll("palette", 10_000, (signal) => api.listSystems({}, { signal })).value?.systems ?? [];
  const [query, setQuery] = useState("");
  const [at, setAt] = useState(0);
  const to = (href: string) => () => navigate(href);
  const items: Item[] = [
    ...systems.map((system) => ({ text: system.name, kind: "system", go: to(paths.system(system.name)) })),
    ...devices.map((device) => ({ text: device.name, kind: "device", go: to(paths.device(device.name)) })),
    ...systems.map((system) => ({ text: `logs of ${system.name}`, kind: "logs", go: to(paths.logs({ system: system.name })) })),
    { text: "Fleet", kind: "page", go: to(paths.fleet()) },
    { text: "Systems", kind: "page", go: to(paths.systems()) },
    { text: "Video wall", kind: "page", go: to(paths.wall()) },
    { text: "Logs", kind: "page", go: to(paths.logs()) },
    { text: "Models", kind: "page", go: to(paths.models()) },
    { text: "Events", kind: "page", go: to(paths.events()) },
    { text: "Switch dark and light", kind: "action", go: toggleTheme },
  ];
  const found = items.filter((item) => matches(`${item.text} ${item.kind}`.toLowerCase(), query)).slice(0, SHOWN);
  const chosen = Math.min(at, found.length - 1);
  const run = (item: Item | undefined) => {
    if (!item) return;
    onClose();
    item.go();
  };
  const key = (event: KeyboardEvent) => {
    if (event.key === "ArrowDown") setAt(Math.min(chosen + 1, found.length - 1));
    else if (event.key === "ArrowUp") setAt(Math.max(chosen - 1, 0));
    else if (event.key === "Enter") run(found[chosen]);
    else return;
    event.preventDefault();
  };
  return (
    <Dialog title="Go to" onClose={onClose} className="palette">
      <input
        role="combobox"
        aria-expanded="true"
        aria-controls="palette-list"
        aria-activedescendant={chosen >= 0 ? `palette-${chosen}` : undefined}
        aria-label="Go to a page, device or system"
        placeholder="Go to a page, device or system"
        value={query}
        onChange={(event) => {
          setQuery(event.target.value);
          setAt(0);
        }}
        onKeyDown={key}
      />
      <ul id="palette-list" role="listbox" aria-label="Results">
        {found.map((item, index) => (
          <li key={`${item.kind} ${item.text}`} id={`palette-${index}`} role="option" aria-selected={index === chosen} onClick={() => run(item)} onMouseMove={() => setAt(index)}>
            <span>{item.text}</span>
            <span>{item.kind}</span>
          </li>
        ))}
        {found.length === 0 && <li className="muted">Nothing has that name.</li>}
      </ul>
    </Dialog>
  );
}
