// The shell: login or navigation, the connection banner and the page of the current address.
import { lazy, Suspense, useEffect, useState } from "react";

import { api } from "./lib/api";
import { auth, logout, login, takeFragmentToken } from "./lib/auth";
import { fleet, useFleetWatch } from "./lib/fleet";
import { duration } from "./lib/format";
import { Link, matchPath, navigate, paths, useLocation } from "./lib/router";
import { useStore } from "./lib/store";
import { lostSince, useNow, usePoll } from "./lib/stream";
import { theme, toggleTheme } from "./lib/theme";
import { DeviceHealth } from "./gen/edgeflow/v1/device_pb";
import { LoginPage } from "./pages/login";
import { FleetPage } from "./pages/fleet";
import { DevicePage } from "./pages/device";
import { SystemsPage } from "./pages/systems";
import { WallPage } from "./pages/wall";
import { LogsPage } from "./pages/logs";
import { EventsPage } from "./pages/events";
import { ModelsPage } from "./pages/models";
import { Icon, type IconName } from "./ui/icons";
import { Palette } from "./ui/palette";
import { Empty, Loading } from "./ui/parts";

const SystemPage = lazy(() => import("./pages/system").then((module) => ({ default: module.SystemPage })));

const NAV: { href: string; icon: IconName; text: string; under: string[] }[] = [
  { href: paths.fleet(), icon: "fleet", text: "Fleet", under: ["/fleet", "/devices"] },
  { href: paths.systems(), icon: "systems", text: "Systems", under: ["/systems"] },
  { href: paths.wall(), icon: "wall", text: "Video", under: ["/wall"] },
  { href: paths.models(), icon: "models", text: "Models", under: ["/models"] },
  { href: paths.logs(), icon: "logs", text: "Logs", under: ["/logs"] },
  { href: paths.events(), icon: "events", text: "Events", under: ["/events"] },
];

export function App() {
  const state = useStore(auth);
  const [firstError, setFirstError] = useState("");
  useEffect(() => {
    void start(setFirstError);
    // A link with a token pasted into an open page.
    const again = () => void start(setFirstError, true);
    window.addEventListener("hashchange", again);
    return () => window.removeEventListener("hashchange", again);
  }, []);
  if (state === "checking") return <div className="login"><Loading what="the dashboard" /></div>;
  if (state === "out") return <LoginPage first={firstError} />;
  return <Shell />;
}

async function start(onError: (text: string) => void, onlyToken = false): Promise<void> {
  const token = takeFragmentToken();
  if (token) {
    const result = await login(token);
    if (result.ok) return;
    onError(result.message);
    auth.set("out");
    return;
  }
  if (onlyToken) return;
  try {
    await api.getServerInfo({});
  } catch {
    // Not logged in is set by the client; anything else is for the banner to tell.
  }
  if (auth.get() === "checking") auth.set("in");
}

function Shell() {
  const { path } = useLocation();
  const [palette, setPalette] = useState(false);
  useFleetWatch();
  // Notices a control plane that is gone even where a dead connection stays open.
  usePoll("alive", 5000, (signal) => api.getServerInfo({}, { signal, timeoutMs: 5000 }));
  useEffect(() => {
    const key = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        setPalette((open) => !open);
      }
    };
    document.addEventListener("keydown", key);
    return () => document.removeEventListener("keydown", key);
  }, []);
  return (
    <div className="shell">
      <Banner />
      <Side path={path} onPalette={() => setPalette(true)} />
      <main className={path === "/logs" ? "full" : ""}>
        <Suspense fallback={<Loading what="the page" />}>
          <Page path={path} />
        </Suspense>
      </main>
      {palette && <Palette onClose={() => setPalette(false)} />}
    </div>
  );
}

function Page({ path }: { path: string }) {
  const device = matchPath("/devices/:name", path);
  const system = matchPath("/systems/:name", path);
  const title = device?.["name"] ?? system?.["name"] ?? NAV.find((item) => item.href === path)?.text ?? "";
  useEffect(() => {
    document.title = title ? `${title} · EdgeFlow` : "EdgeFlow";
  }, [title]);
  useEffect(() => {
    if (path === "/") navigate(paths.fleet(), { replace: true });
  }, [path]);
  if (path === "/") return null;
  if (device) return <DevicePage key={path} name={device["name"] ?? ""} />;
  if (system) return <SystemPage key={path} name={system["name"] ?? ""} />;
  if (path === "/fleet") return <FleetPage />;
  if (path === "/systems") return <SystemsPage />;
  if (path === "/wall") return <WallPage />;
  if (path === "/models") return <ModelsPage />;
  if (path === "/logs") return <LogsPage />;
  if (path === "/events") return <EventsPage />;
  return (
    <Empty title="There is no such page">
      <Link href={paths.fleet()}>Go to the fleet</Link>
    </Empty>
  );
}

function Banner() {
  const since = useStore(lostSince);
  const now = useNow();
  if (since === null || now - since < 1500) return null;
  return (
    <div className="banner" role="alert">
      The control plane has not answered for {duration(now - since)}. Devices keep running; what you see is the last known
      state. Trying again…
    </div>
  );
}

function Side({ path, onPalette }: { path: string; onPalette: () => void }) {
  const devices = useStore(fleet)?.devices;
  const shown = useStore(theme);
  const troubled = devices?.filter((device) => device.health === DeviceHealth.DEGRADED || device.health === DeviceHealth.OFFLINE).length ?? 0;
  return (
    <nav className="side" aria-label="Main">
      <Link href={paths.fleet()} className="brand">
        <img src="/favicon.svg" alt="" />
        EdgeFlow
      </Link>
      {NAV.map((item) => (
        <Link key={item.href} href={item.href} className="nav" aria-current={item.under.some((root) => path === root || path.startsWith(`${root}/`)) ? "page" : undefined}>
          <Icon name={item.icon} />
          {item.text}
          {item.text === "Fleet" && troubled > 0 && <span className="tag warn" title={`${troubled} degraded or offline`}>{troubled}</span>}
        </Link>
      ))}
      <div className="side-foot">
        <button type="button" className="nav desktop" onClick={onPalette}>
          <Icon name="search" /> Go to… <kbd>Ctrl K</kbd>
        </button>
        <button type="button" className="nav" onClick={toggleTheme} aria-label={`Switch to ${shown === "dark" ? "light" : "dark"} colours`}>
          <Icon name="theme" /> {shown === "dark" ? "Light" : "Dark"}
        </button>
        <button type="button" className="nav desktop" onClick={() => void logout()}>
          <Icon name="logout" /> Log out
        </button>
      </div>
    </nav>
  );
}
