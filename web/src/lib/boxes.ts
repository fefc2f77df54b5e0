// Geometry and drawing of a picture with boxes in a tile. Pure except for the canvas it is given.
import type { Detection } from "./frame";
import { labelColour } from "./colour";
import { drawPoints, drawShapes, type Shape } from "./zones";

export interface Rect {
  x: number;
  y: number;
  w: number;
  h: number;
}

/** The largest centred rectangle of the picture's shape in a box: letterboxed, never cropped. */
export function letterbox(pictureW: number, pictureH: number, boxW: number, boxH: number): Rect {
  if (pictureW <= 0 || pictureH <= 0 || boxW <= 0 || boxH <= 0) return { x: 0, y: 0, w: 0, h: 0 };
  const scale = Math.min(boxW / pictureW, boxH / pictureH);
  const w = pictureW * scale;
  const h = pictureH * scale;
  return { x: (boxW - w) / 2, y: (boxH - h) / 2, w, h };
}

/** A detection in picture pixels, moved to the canvas and cut at the picture's edge. */
export function placeBox(box: Rect, pictureW: number, pictureH: number, area: Rect): Rect {
  const left = clamp(box.x, 0, pictureW);
  const top = clamp(box.y, 0, pictureH);
  const right = clamp(box.x + box.w, 0, pictureW);
  const bottom = clamp(box.y + box.h, 0, pictureH);
  const sx = area.w / pictureW;
  const sy = area.h / pictureH;
  return { x: area.x + left * sx, y: area.y + top * sy, w: (right - left) * sx, h: (bottom - top) * sy };
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), high);
}

export function boxText(box: Detection): string {
  const score = box.score > 0 ? `${Math.round(box.score * 100)}%` : "";
  const track = box.track === undefined ? "" : `#${box.track}`;
  return [box.label, track, track ? "" : score].filter(Boolean).join(" ");
}

/** Draws one picture and its boxes; `dpr` scales line widths and text. */
export function drawFrame(
  context: CanvasRenderingContext2D,
  picture: ImageBitmap,
  boxes: Detection[],
  shapes: Shape[],
  dpr: number,
): void {
  const { width, height } = context.canvas;
  const area = letterbox(picture.width, picture.height, width, height);
  context.fillStyle = "#000";
  context.fillRect(0, 0, width, height);
  context.drawImage(picture, area.x, area.y, area.w, area.h);
  const small = width / dpr < 360;
  const size = (small ? 10 : 12) * dpr;
  context.lineWidth = (small ? 1.5 : 2) * dpr;
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  drawShapes(context, shapes, picture.width, picture.height, area, size);
  for (const box of boxes) drawBox(context, box, picture, area, size);
}

function drawBox(context: CanvasRenderingContext2D, box: Detection, picture: ImageBitmap, area: Rect, size: number): void {
  const at = placeBox(box, picture.width, picture.height, area);
  if (at.w <= 0 || at.h <= 0) return;
  const colour = labelColour(box.track === undefined ? box.label : `track ${box.track}`);
  if (box.outline) {
    drawPoints(context, box.outline, true, picture.width, picture.height, area, colour);
  } else {
    context.strokeStyle = colour;
    context.strokeRect(at.x, at.y, at.w, at.h);
  }
  const text = boxText(box);
  if (!text) return;
  const pad = size * 0.35;
  const w = context.measureText(text).width + pad * 2;
  const h = size * 1.45;
  const x = clamp(at.x, area.x, Math.max(area.x, area.x + area.w - w));
  const above = at.y - h;
  const y = above >= area.y ? above : at.y;
  context.fillStyle = colour;
  context.fillRect(x, y, w, h);
  context.fillStyle = "#06110b";
  context.fillText(text, x + pad, y + h / 2);
}
