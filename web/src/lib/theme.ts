// Dark or light: the system's choice until a person chooses.
import { createStore } from "./store";

export type Theme = "dark" | "light";
const KEY = "edgeflow-theme";
const system = window.matchMedia("(prefers-color-scheme: light)");

function stored(): Theme | null {
  try {
    const value = localStorage.getItem(KEY);
    return value === "dark" || value === "light" ? value : null;
  } catch {
    return null;
  }
}

function current(): Theme {
  return stored() ?? (system.matches ? "light" : "dark");
}

export const theme = createStore<Theme>(current());

function show(): void {
  document.documentElement.dataset["theme"] = theme.get();
}

export function startTheme(): void {
  show();
  theme.subscribe(show);
  system.addEventListener("change", () => theme.set(current()));
}

export function toggleTheme(): void {
  const next: Theme = theme.get() === "dark" ? "light" : "dark";
  try {
    localStorage.setItem(KEY, next);
  } catch {
    // Storage may be off; the choice then lasts as long as the page.
  }
  theme.set(next);
}
