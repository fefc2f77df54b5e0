// One live picture. Opens the view while it is on the screen, draws frame and boxes, grants the next
// credit after drawing, and says in words why there is no picture.
import { useEffect, useRef, useState, type RefObject } from "react";

import { drawFrame } from "../lib/boxes";
import { readDetections, readMeta, type Detection, type Frame } from "../lib/frame";
import { readHops, type Hop } from "../lib/hops";
import { readShapes, type Shape } from "../lib/zones";
import { clock, duration, fps as fpsText, millis, plural } from "../lib/format";
import { liveClient, type Outage, type TileHandle, type TileSource } from "../lib/live";
import { Link, paths } from "../lib/router";
import { useNow } from "../lib/stream";
import { Icon } from "./icons";

/** Without a frame for this long the tile says so. */
const STALL_MS = 4000;
/** Frames are counted over this long. */
const FPS_WINDOW_MS = 2000;
const REFRESH_MS = 500;
const WAITING = "Waiting for a frame";

interface Figures {
  fps: number;
  boxes: number;
  ageMs: number | null;
}

/** Why there is no picture. */
type Card = { title: string; text: string; outage?: Outage | undefined } | null;

const REASONS: Record<string, string> = {
  disconnected: "Not connected",
  not_found: "Nothing to show",
  offline: "Device offline",
  not_running: "Node not running",
  gone: "View ended",
  silent: "No signal",
  no_signal: "No signal",
  node: "Node reports a problem",
  damaged: "Broken frame",
  limit: "Too many views",
};

function reasonTitle(reason: string): string {
  return REASONS[reason] ?? "No signal";
}

/** Draws what arrives and keeps the figures; lives as long as the view is open. */
class Player {
  private readonly handle: TileHandle;
  private picture: ImageBitmap | null = null;
  private boxes: Detection[] = [];
  private shapes: Shape[] = [];
  private readonly arrivals: number[] = [];
  private ageMs: number | null = null;
  private lastFrame = 0;
  private frames = 0;
  private closed = false;

  constructor(
    source: TileSource,
    private readonly canvas: HTMLCanvasElement,
    private readonly onCard: (card: Card) => void,
    private readonly onHops: (hops: Hop[]) => void,
  ) {
    this.handle = liveClient().open(source, {
      onFrame: (frame) => void this.show(frame),
      onError: (reason, message, outage) => this.onCard({ title: outage ? "No signal" : reasonTitle(reason), text: message, outage }),
      onOpen: () => {
        if (!this.lastFrame) this.onCard({ title: WAITING, text: "" });
      },
    });
  }

  private async show(frame: Frame): Promise<void> {
    const meta = readMeta(frame);
    if (frame.kind === "error") {
      const text = typeof meta["error"] === "string" ? meta["error"] : "";
      this.onCard({ title: "No signal", text });
    } else if (frame.kind === "end") {
      this.onCard({ title: "The stream ended", text: "" });
    } else if (frame.kind === "frame") {
      const hops = readHops(meta);
      if (hops.length > 0) this.onHops(hops);
      await this.decode(frame, meta);
    }
    if (!this.closed) this.handle.credit();
  }

  private async decode(frame: Frame, meta: Record<string, unknown>): Promise<void> {
    if (frame.codec !== "jpeg") {
      this.onCard({ title: "No picture", text: `This node sends ${frame.codec}, which the dashboard can't draw.` });
      return;
    }
    let picture: ImageBitmap;
    try {
      picture = await createImageBitmap(new Blob([frame.payload], { type: "image/jpeg" }));
    } catch {
      if (!this.closed) this.onCard({ title: "Broken picture", text: "The JPEG can't be decoded." });
      return;
    }
    if (this.closed) {
      picture.close();
      return;
    }
    this.picture?.close();
    this.picture = picture;
    this.boxes = readDetections(meta);
    this.shapes = readShapes(meta);
    const now = performance.now();
    this.arrivals.push(now);
    this.lastFrame = now;
    this.ageMs = frame.captureMs > 0 ? Math.max(0, Date.now() - frame.captureMs) : null;
    this.frames++;
    this.draw();
    // For tests and scripts: what the canvas shows now.
    this.canvas.dataset["frames"] = String(this.frames);
    this.canvas.dataset["boxes"] = String(this.boxes.length);
    this.onCard(null);
  }

  draw(): void {
    const context = this.canvas.getContext("2d", { alpha: false });
    if (!context || !this.picture) return;
    drawFrame(context, this.picture, this.boxes, this.shapes, window.devicePixelRatio || 1);
  }

  figures(): Figures {
    const now = performance.now();
    while (this.arrivals.length > 0 && (this.arrivals[0] ?? 0) < now - FPS_WINDOW_MS) this.arrivals.shift();
    const first = this.arrivals[0];
    const last = this.arrivals[this.arrivals.length - 1];
    const span = first !== undefined && last !== undefined ? last - first : 0;
    const rate = span > 0 ? ((this.arrivals.length - 1) * 1000) / span : 0;
    return { fps: rate, boxes: this.boxes.length, ageMs: this.ageMs };
  }

  stalled(): boolean {
    return this.lastFrame > 0 && performance.now() - this.lastFrame > STALL_MS;
  }

  close(): void {
    this.closed = true;
    this.handle.close();
    this.picture?.close();
    this.picture = null;
  }
}

/** Since when there is no picture, and when it is tried again. */
function Times({ sinceMs, nextTryMs }: Outage) {
  const now = useNow();
  const left = nextTryMs - now;
  return (
    <p className="faint">
      since {clock(sinceMs)} ({duration(Math.max(0, now - sinceMs))}) · {left > 500 ? `next try in ${duration(left + 500)}` : "trying now"}
    </p>
  );
}

/** Whether the element is near the screen and the page is looked at. */
function useOnScreen(element: RefObject<HTMLElement | null>): boolean {
  const [near, setNear] = useState(false);
  const [looked, setLooked] = useState(!document.hidden);
  useEffect(() => {
    const target = element.current;
    if (!target) return;
    const observer = new IntersectionObserver((entries) => setNear(entries.some((entry) => entry.isIntersecting)), { rootMargin: "80px" });
    observer.observe(target);
    const change = () => setLooked(!document.hidden);
    document.addEventListener("visibilitychange", change);
    return () => {
      observer.disconnect();
      document.removeEventListener("visibilitychange", change);
    };
  }, [element]);
  return near && looked;
}

/** Keeps the canvas at the device's own pixels. */
function useCanvasSize(canvas: RefObject<HTMLCanvasElement | null>, player: RefObject<Player | null>): void {
  useEffect(() => {
    const target = canvas.current;
    if (!target) return;
    const observer = new ResizeObserver(() => {
      const dpr = window.devicePixelRatio || 1;
      const width = Math.max(1, Math.round(target.clientWidth * dpr));
      const height = Math.max(1, Math.round(target.clientHeight * dpr));
      if (target.width === width && target.height === height) return;
      target.width = width;
      target.height = height;
      player.current?.draw();
    });
    observer.observe(target);
    return () => observer.disconnect();
  }, [canvas, player]);
}

export function Tile({ source, hint, loopMs, onHops }: { source: TileSource; hint?: string | undefined; loopMs?: number | undefined; onHops?: (hops: Hop[]) => void }) {
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const player = useRef<Player | null>(null);
  const [card, setCard] = useState<Card>({ title: "Connecting", text: "" });
  const [figures, setFigures] = useState<Figures>({ fps: 0, boxes: 0, ageMs: null });
  const told = useRef(onHops);
  told.current = onHops;
  const awake = useOnScreen(box);
  useCanvasSize(canvas, player);
  const { system, node, device } = source;
  useEffect(() => {
    const target = canvas.current;
    if (!awake || !target) return;
    setCard({ title: "Connecting", text: "" });
    const live = new Player({ system, node, device }, target, setCard, (hops) => told.current?.(hops));
    player.current = live;
    const timer = setInterval(() => {
      setFigures(live.figures());
      if (live.stalled()) setCard((old) => old ?? { title: "No signal", text: "" });
    }, REFRESH_MS);
    return () => {
      clearInterval(timer);
      live.close();
      player.current = null;
    };
  }, [awake, system, node, device]);
  const shownFps = card ? 0 : figures.fps;
  const query = device ? `?device=${encodeURIComponent(device)}` : "";
  return (
    <div className="tile" ref={box} data-system={system} data-node={node} data-state={card ? "card" : "live"}>
      <canvas ref={canvas} role="img" aria-label={`Live picture of ${node} of ${system}`} />
      {card && (
        <div className="card-over">
          <b>{card.title === WAITING && hint ? "No signal" : card.title}</b>
          <p>{card.text || hint || ""}</p>
          {card.text && hint && hint !== card.text ? <p>{hint}</p> : null}
          {card.outage && <Times {...card.outage} />}
        </div>
      )}
      <div className="top">
        <b>{node}</b>
        <span className="stat">{device || <Link href={paths.system(system)}>{system}</Link>}</span>
        <span className="grow" />
        <a href={`/snapshot/${encodeURIComponent(system)}/${encodeURIComponent(node)}.jpg${query}`} target="_blank" rel="noreferrer" aria-label={`Snapshot of ${node}`} title="Snapshot">
          <Icon name="camera" />
        </a>
        <button type="button" onClick={() => void toggleFullscreen(box.current)} aria-label={`Full screen of ${node}`} title="Full screen">
          <Icon name="expand" />
        </button>
      </div>
      <div className="bottom">
        <span className="tile-fps stat" data-fps={shownFps.toFixed(1)} data-boxes={card ? 0 : figures.boxes}>
          {card ? "– fps" : `${fpsText(figures.fps)} fps`}
        </span>
        {!card && figures.ageMs !== null && (
          <span className="stat" title="From capture to this screen, by the clocks of both machines">
            age {millis(figures.ageMs)}
          </span>
        )}
        {!card && loopMs !== undefined && <span className="stat" title="Time in the node's loop, median">loop {millis(loopMs)}</span>}
        <span className="grow" />
        {!card && figures.boxes > 0 && <span className="stat">{plural(figures.boxes, "box", "boxes")}</span>}
      </div>
    </div>
  );
}

async function toggleFullscreen(element: HTMLElement | null): Promise<void> {
  try {
    if (document.fullscreenElement) await document.exitFullscreen();
    else await element?.requestFullscreen();
  } catch {
    // Not allowed here: the tile stays as it is.
  }
}
