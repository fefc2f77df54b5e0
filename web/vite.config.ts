import { fileURLToPath } from "node:url";

import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// `npm run dev` talks to a control plane on its default loopback address.
const CONTROL_PLANE = process.env["EDGEFLOW_HTTP"] ?? "http://127.0.0.1:7080";
const PROXIED = ["/edgeflow.v1.ControlService", "/login", "/logout", "/ws", "/video", "/snapshot"];

export default defineConfig({
  plugins: [react()],
  root: fileURLToPath(new URL(".", import.meta.url)),
  build: {
    target: "es2022",
    // dist is committed: no content that differs between two builds of the same sources.
    sourcemap: false,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    chunkSizeWarningLimit: 500,
  },
  server: {
    host: "127.0.0.1",
    proxy: Object.fromEntries(PROXIED.map((path) => [path, { target: CONTROL_PLANE, ws: path === "/ws" }])),
  },
  test: { include: ["test/**/*.test.ts"], environment: "node" },
});
