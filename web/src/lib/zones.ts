// Zones and lines of a frame's metadata: read and drawn. Points are in picture pixels.
import type { Rect } from "./boxes";
import { labelColour } from "./colour";

/** Zones and lines drawn on one picture, and points of one. */
const MAX_SHAPES = 64;
const MAX_POINTS = 64;

/** In picture pixels. */
export type Point = [number, number];

export interface Shape {
  name: string;
  points: Point[];
  /** A zone is closed, a line is not. */
  closed: boolean;
  /** What stands beside the name: things inside, or how many crossed which way. */
  text: string;
}

/** The well-formed zones and lines of the key `zones`. */
export function readShapes(meta: Record<string, unknown>): Shape[] {
  const report = meta["zones"];
  if (report === null || typeof report !== "object" || Array.isArray(report)) return [];
  const { zones, lines } = report as Record<string, unknown>;
  const out: Shape[] = [];
  for (const item of entries(zones)) {
    const points = readPoints(item["points"], 3);
    if (points) out.push({ name: text(item["name"]), points, closed: true, text: String(whole(item["count"])) });
  }
  for (const item of entries(lines)) {
    const points = readPoints(item["points"], 2);
    if (points) {
      const crossed = `${whole(item["forward"])} fwd, ${whole(item["backward"])} back`;
      out.push({ name: text(item["name"]), points, closed: false, text: crossed });
    }
  }
  return out.slice(0, MAX_SHAPES);
}

function entries(list: unknown): Record<string, unknown>[] {
  if (!Array.isArray(list)) return [];
  return (list as unknown[]).filter((item): item is Record<string, unknown> => item !== null && typeof item === "object");
}

/** The points of a shape, if they are well-formed and neither too few nor too many. */
export function readPoints(list: unknown, least: number): Point[] | null {
  if (!Array.isArray(list) || list.length < least || list.length > MAX_POINTS) return null;
  const points: Point[] = [];
  for (const point of list as unknown[]) {
    if (!Array.isArray(point)) return null;
    const [x, y] = point as unknown[];
    if (typeof x !== "number" || typeof y !== "number" || !Number.isFinite(x) || !Number.isFinite(y)) return null;
    points.push([x, y]);
  }
  return points;
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function whole(value: unknown): number {
  const number = Number(value);
  return Number.isFinite(number) ? Math.trunc(number) : 0;
}

/** Draws points of a picture that covers `area`, joined, and filled lightly where they are closed. Where they are on the canvas. */
export function drawPoints(
  context: CanvasRenderingContext2D,
  points: Point[],
  closed: boolean,
  pictureW: number,
  pictureH: number,
  area: Rect,
  colour: string,
): Point[] {
  const at = points.map(([x, y]): Point => [area.x + (x / pictureW) * area.w, area.y + (y / pictureH) * area.h]);
  context.beginPath();
  at.forEach(([x, y], index) => (index === 0 ? context.moveTo(x, y) : context.lineTo(x, y)));
  if (closed) {
    context.closePath();
    context.globalAlpha = 0.18;
    context.fillStyle = colour;
    context.fill();
    context.globalAlpha = 1;
  }
  context.strokeStyle = colour;
  context.stroke();
  return at;
}

/** Draws shapes over a picture that covers `area`; `size` is that of the text. */
export function drawShapes(context: CanvasRenderingContext2D, shapes: Shape[], pictureW: number, pictureH: number, area: Rect, size: number): void {
  if (pictureW <= 0 || pictureH <= 0) return;
  for (const shape of shapes) {
    const colour = labelColour(shape.name);
    const at = drawPoints(context, shape.points, shape.closed, pictureW, pictureH, area, colour);
    const anchor = labelPoint(at, shape.closed);
    const label = `${shape.name}: ${shape.text}`;
    context.lineWidth *= 2;
    context.strokeStyle = "#000";
    const x = Math.min(anchor[0] + size * 0.4, area.x + area.w - context.measureText(label).width - size * 0.4);
    const y = Math.min(Math.max(anchor[1] - size * 0.8, area.y + size), area.y + area.h - size * 3);
    context.strokeText(label, x, y);
    context.lineWidth /= 2;
    context.fillStyle = "#fff";
    context.fillText(label, x, y);
  }
}

/** Where a label disturbs least: at the lowest left corner of a zone, in the middle of a line. */
function labelPoint(points: [number, number][], closed: boolean): [number, number] {
  const xs = points.map(([x]) => x);
  const ys = points.map(([, y]) => y);
  if (closed) return [Math.min(...xs), Math.max(...ys)];
  const middle = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  return [middle(xs), middle(ys)];
}
