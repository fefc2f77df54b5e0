// A line chart over time. Owns the uPlot instance; loaded only by pages that show one.
import "uplot/dist/uPlot.min.css";

import { useEffect, useRef } from "react";
import uPlot from "uplot";

import { clock } from "../lib/format";
import { theme } from "../lib/theme";
import { useStore } from "../lib/store";

export interface Line {
  label: string;
  /** A CSS variable's name. */
  colour: string;
  values: (number | null)[];
}

export interface ChartProps {
  /** Seconds since 1970. */
  times: number[];
  lines: Line[];
  max?: number;
  show: (value: number) => string;
  label: string;
}

const HEIGHT = 140;

function colourOf(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function options(width: number, props: ChartProps, show: () => ChartProps["show"], onCursor: (plot: uPlot) => void): uPlot.Options {
  const axis = { stroke: colourOf("--muted"), grid: { stroke: colourOf("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
  const { max } = props;
  return {
    width,
    height: HEIGHT,
    padding: [8, 8, 0, 0],
    cursor: { points: { size: 6 }, drag: { x: false, y: false } },
    legend: { show: false },
    hooks: { setCursor: [onCursor] },
    scales: { y: { range: (_, __, high) => [0, max ?? Math.max(1, (high ?? 1) * 1.1)] } },
    axes: [
      { ...axis, size: 26, space: 90, values: "{HH}:{mm}:{ss}" as unknown as uPlot.Axis.Values },
      { ...axis, size: 62, space: 28, values: (_, splits) => splits.map((value) => show()(value)) },
    ],
    series: [
      {},
      ...props.lines.map((line): uPlot.Series => ({
        label: line.label,
        stroke: colourOf(line.colour),
        fill: `color-mix(in srgb, ${colourOf(line.colour)} 12%, transparent)`,
        width: 1.5,
        points: { show: false },
      })),
    ],
  };
}

export default function Chart(props: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const readout = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(props);
  latest.current = props;
  const colours = useStore(theme);
  const shape = props.lines.map((line) => line.label).join();
  useEffect(() => {
    const target = box.current;
    if (!target) return;
    const made = new uPlot(options(target.clientWidth || 300, latest.current, () => latest.current.show, (plot) => tell(plot, latest.current, readout.current)), data(latest.current), target);
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: target.clientWidth, height: HEIGHT }));
    observer.observe(target);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [colours, shape, props.max]);
  useEffect(() => {
    plot.current?.setData(data(props));
  }, [props]);
  return (
    <div className="chart" ref={box} role="img" aria-label={props.label}>
      <div className="readout" ref={readout} />
    </div>
  );
}

/** Says the value under the pointer. */
function tell(plot: uPlot, props: ChartProps, into: HTMLElement | null): void {
  if (!into) return;
  const at = plot.cursor.idx;
  const time = at === null || at === undefined ? undefined : props.times[at];
  if (at === null || at === undefined || time === undefined) {
    into.textContent = "";
    return;
  }
  const values = props.lines.map((line) => {
    const value = line.values[at];
    return value === null || value === undefined ? "–" : props.show(value);
  });
  into.textContent = `${clock(time * 1000)}  ${values.join("  ")}`;
}

function data(props: ChartProps): uPlot.AlignedData {
  return [props.times, ...props.lines.map((line) => line.values)] as uPlot.AlignedData;
}
