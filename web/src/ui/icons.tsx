// The page's own line icons, 16 px.
const SHAPES = {
  fleet: "M2 3h12v4H2zM2 9h12v4H2zM4.5 5h.01M4.5 11h.01",
  systems: "M2 4h4v3H2zM2 9.5h4v3H2zM10.5 6.5h4v3h-4zM6 5.5h2.2l1 2.5h1.3M6 11h2.2l1-3",
  wall: "M2 3h5v4.5H2zM9 3h5v4.5H9zM2 9h5v4.5H2zM9 9h5v4.5H9z",
  models: "M8 2l5.5 3v6L8 14l-5.5-3V5zM2.5 5 8 8l5.5-3M8 8v6",
  logs: "M2.5 3.5h11M2.5 6.5h7M2.5 9.5h11M2.5 12.5h5",
  events: "M8 2a4 4 0 0 1 4 4c0 4 1.5 5 1.5 5h-11S4 10 4 6a4 4 0 0 1 4-4zM6.5 13.5h3",
  search: "M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9zM10.3 10.3 14 14",
  theme: "M8 2a6 6 0 1 0 6 6 4.5 4.5 0 0 1-6-6z",
  logout: "M6.5 2.5h-4v11h4M6.5 8h7M10.5 5l3 3-3 3",
  expand: "M9.5 2.5h4v4M6.5 13.5h-4v-4M13.5 2.5 9 7M2.5 13.5 7 9",
  camera: "M2 5h2.5L6 3h4l1.5 2H14v8H2zM8 6.8a2.2 2.2 0 1 1 0 4.4 2.2 2.2 0 0 1 0-4.4z",
  close: "M3.5 3.5l9 9M12.5 3.5l-9 9",
} as const;

export type IconName = keyof typeof SHAPES;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg width="16" height="16" viewBox="0 0 16 16" fill="none" stroke="currentColor" strokeWidth="1.4" strokeLinecap="round" strokeLinejoin="round" aria-hidden="true">
      <path d={SHAPES[name]} />
    </svg>
  );
}
