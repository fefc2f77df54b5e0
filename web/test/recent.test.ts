import { describe, expect, it } from "vitest";
import { RecentDrops } from "../src/lib/recent";

describe("RecentDrops", () => {
  it("gives everything at the first look, and then what was dropped lately", () => {
    const drops = new RecentDrops();
    expect(drops.share("a", 1000, 900, 0)).toEqual({ produced: 1000, dropped: 900 });
    expect(drops.share("a", 1030, 900, 1_000)).toEqual({ produced: 30, dropped: 0 });
    expect(drops.share("a", 1060, 910, 2_000)).toEqual({ produced: 60, dropped: 10 });
  });

  it("forgets what is older than the window", () => {
    const drops = new RecentDrops();
    for (let second = 0; second <= 5; second += 1) drops.share("a", second * 30, second * 10, second * 1000);
    for (let second = 6; second <= 20; second += 1) drops.share("a", second * 30, 50, second * 1000);
    expect(drops.share("a", 630, 50, 21_000).dropped).toBe(0);
    expect(drops.share("a", 630, 50, 60_000)).toEqual({ produced: 0, dropped: 0 });
  });

  it("starts again with a process that started again", () => {
    const drops = new RecentDrops();
    drops.share("a", 1000, 10, 0);
    drops.share("a", 1100, 10, 1_000);
    expect(drops.share("a", 5, 1, 2_000)).toEqual({ produced: 5, dropped: 1 });
  });

  it("keeps links apart", () => {
    const drops = new RecentDrops();
    drops.share("a", 100, 1, 0);
    expect(drops.share("b", 7, 0, 0)).toEqual({ produced: 7, dropped: 0 });
  });
});
