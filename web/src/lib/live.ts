// Live video: one WebSocket for every tile of the page, one credit a tile. Owns the socket and the
// tile numbers; never draws. A tile gets its next frame only after it granted a credit.
import { waitMs } from "./backoff";
import { FrameError, parseTileMessage, type Frame } from "./frame";

export interface TileSource {
  system: string;
  node: string;
  /** Empty: any ready device. */
  device: string;
}

export interface TileSink {
  onFrame(frame: Frame): void;
  onError(reason: string, message: string, outage?: Outage): void;
  onOpen(device: string): void;
}

/** Since when there is no picture and when it is tried again, milliseconds since 1970. */
export interface Outage {
  sinceMs: number;
  nextTryMs: number;
}

export interface TileHandle {
  /** The last frame is drawn (or given up): send the next. */
  credit(): void;
  close(): void;
}

interface Tile {
  source: TileSource;
  sink: TileSink;
  retry: ReturnType<typeof setTimeout> | undefined;
  /** Its number on the server; 0: not open there. */
  number: number;
}

/** After these errors the server holds no tile any more; it is asked for again. */
const ENDED = new Set(["not_found", "gone", "limit", "request"]);
const ENDED_RETRY_MS = 3000;
/** After any other error the server goes on by itself; if it stays silent the tile is asked for anew. */
const SILENT_RETRY_MS = 8000;
/** The socket stays open this long after the last tile. */
const LINGER_MS = 4000;

export class LiveClient {
  private socket: WebSocket | null = null;
  private readonly tiles = new Set<Tile>();
  private readonly byNumber = new Map<number, Tile>();
  private nextNumber = 1;
  private attempt = 0;
  private reconnect: ReturnType<typeof setTimeout> | undefined;
  private linger: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly makeSocket: () => WebSocket) {}

  open(source: TileSource, sink: TileSink): TileHandle {
    const tile: Tile = { source, sink, retry: undefined, number: 0 };
    this.tiles.add(tile);
    clearTimeout(this.linger);
    this.connect();
    this.openOnServer(tile);
    return {
      credit: () => {
        if (tile.number) this.send({ type: "credit", tile: tile.number });
      },
      close: () => this.remove(tile),
    };
  }

  private remove(tile: Tile): void {
    if (!this.tiles.delete(tile)) return;
    clearTimeout(tile.retry);
    this.closeOnServer(tile);
    if (this.tiles.size > 0) return;
    clearTimeout(this.reconnect);
    this.linger = setTimeout(() => {
      const socket = this.socket;
      this.socket = null;
      socket?.close();
    }, LINGER_MS);
  }

  private connect(): void {
    if (this.socket) return;
    clearTimeout(this.reconnect);
    const socket = this.makeSocket();
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    socket.onopen = () => {
      this.attempt = 0;
      for (const tile of this.tiles) this.openOnServer(tile);
    };
    socket.onmessage = (event: MessageEvent<ArrayBuffer | string>) => {
      if (typeof event.data === "string") this.onText(event.data);
      else this.onBinary(event.data);
    };
    socket.onclose = () => this.onClose(socket);
  }

  private onClose(socket: WebSocket): void {
    if (this.socket !== socket) return;
    this.socket = null;
    this.byNumber.clear();
    for (const tile of this.tiles) {
      tile.number = 0;
      clearTimeout(tile.retry);
      tile.sink.onError("disconnected", "The connection to the control plane was lost. Trying again.");
    }
    if (this.tiles.size > 0) this.reconnect = setTimeout(() => this.connect(), waitMs(this.attempt++));
  }

  private openOnServer(tile: Tile): void {
    if (this.socket?.readyState !== WebSocket.OPEN || tile.number) return;
    tile.number = this.nextNumber++;
    this.byNumber.set(tile.number, tile);
    // An opened tile has one credit by itself.
    this.send({ type: "open", tile: tile.number, ...tile.source });
  }

  private closeOnServer(tile: Tile): void {
    if (!tile.number) return;
    this.send({ type: "close", tile: tile.number });
    this.byNumber.delete(tile.number);
    tile.number = 0;
  }

  private onText(text: string): void {
    let message: { type?: unknown; tile?: unknown; reason?: unknown; message?: unknown; device?: unknown; since_ms?: unknown; next_try_ms?: unknown };
    try {
      message = JSON.parse(text) as typeof message;
    } catch {
      return;
    }
    const tile = this.byNumber.get(Number(message.tile));
    if (!tile) return;
    if (message.type === "open") tile.sink.onOpen(String(message.device ?? ""));
    if (message.type === "error") {
      const reason = String(message.reason ?? "");
      const { since_ms: sinceMs, next_try_ms: nextTryMs } = message;
      const outage = typeof sinceMs === "number" && typeof nextTryMs === "number" ? { sinceMs, nextTryMs } : undefined;
      tile.sink.onError(reason, String(message.message ?? ""), outage);
      this.retryLater(tile, ENDED.has(reason) ? ENDED_RETRY_MS : SILENT_RETRY_MS);
    }
  }

  private retryLater(tile: Tile, afterMs: number): void {
    clearTimeout(tile.retry);
    tile.retry = setTimeout(() => {
      this.closeOnServer(tile);
      this.openOnServer(tile);
    }, afterMs);
  }

  private onBinary(data: ArrayBuffer): void {
    let number = 0;
    try {
      number = data.byteLength >= 4 ? new DataView(data).getUint32(0, true) : 0;
      const { frame } = parseTileMessage(data);
      const tile = this.byNumber.get(number);
      if (!tile) return;
      clearTimeout(tile.retry);
      tile.sink.onFrame(frame);
    } catch (error) {
      const tile = this.byNumber.get(number);
      if (!tile) return;
      tile.sink.onError("unreadable", error instanceof FrameError ? error.message : "The frame can't be read.");
      this.send({ type: "credit", tile: number });
    }
  }

  private send(message: Record<string, unknown>): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }
}

let shared: LiveClient | undefined;

/** The page's one client. */
export function liveClient(): LiveClient {
  shared ??= new LiveClient(() => {
    return new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/view`);
  });
  return shared;
}
