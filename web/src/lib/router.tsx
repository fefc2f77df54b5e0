// Addresses: which page is shown, links that don't reload. Paths are data; matching is pure.
import { useSyncExternalStore, type AnchorHTMLAttributes, type MouseEvent } from "react";

const listeners = new Set<() => void>();

function notify(): void {
  for (const listener of [...listeners]) listener();
}

if (typeof window !== "undefined") window.addEventListener("popstate", notify);

export function navigate(to: string, options: { replace?: boolean } = {}): void {
  if (to === location.pathname + location.search) return;
  history[options.replace ? "replaceState" : "pushState"](null, "", to);
  if (!options.replace) document.querySelector("main")?.scrollTo(0, 0);
  notify();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Path and query; the component is drawn again when they change. */
export function useLocation(): { path: string; query: URLSearchParams } {
  const href = useSyncExternalStore(subscribe, () => location.pathname + location.search);
  const [path = "/", query = ""] = href.split("?");
  return { path, query: new URLSearchParams(query) };
}

/** Changes parts of the query in place; an empty value takes the key out. */
export function setQuery(changes: Record<string, string>): void {
  const query = new URLSearchParams(location.search);
  for (const [key, value] of Object.entries(changes)) {
    if (value) query.set(key, value);
    else query.delete(key);
  }
  const text = query.toString();
  navigate(location.pathname + (text ? `?${text}` : ""), { replace: true });
}

/** `/systems/:name` against `/systems/a%20b` → `{name: "a b"}`. */
export function matchPath(pattern: string, path: string): Record<string, string> | null {
  const want = pattern.split("/").filter(Boolean);
  const have = path.split("/").filter(Boolean);
  if (want.length !== have.length) return null;
  const params: Record<string, string> = {};
  for (const [index, part] of want.entries()) {
    const got = have[index] ?? "";
    if (part.startsWith(":")) {
      try {
        params[part.slice(1)] = decodeURIComponent(got);
      } catch {
        return null;
      }
    } else if (part !== got) return null;
  }
  return params;
}

export const paths = {
  fleet: () => "/fleet",
  device: (name: string) => `/devices/${encodeURIComponent(name)}`,
  systems: () => "/systems",
  system: (name: string) => `/systems/${encodeURIComponent(name)}`,
  wall: () => "/wall",
  models: () => "/models",
  logs: (query: Record<string, string> = {}) => {
    const text = new URLSearchParams(Object.entries(query).filter(([, value]) => value)).toString();
    return `/logs${text ? `?${text}` : ""}`;
  },
  events: () => "/events",
};

export function Link({ href, onClick, ...rest }: AnchorHTMLAttributes<HTMLAnchorElement> & { href: string }) {
  const follow = (event: MouseEvent<HTMLAnchorElement>) => {
    onClick?.(event);
    if (event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    navigate(href);
  };
  return <a href={href} onClick={follow} {...rest} />;
}
