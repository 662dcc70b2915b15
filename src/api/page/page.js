"use strict";
// Asks the API every two seconds, shows what came and how it differs from what came before. The key stays in memory.

const PERIOD_MS = 2000;
const ROWS = 500; // More than anybody reads; the filter finds the others.
const DOUBLE_CLICK_MS = 500;

const COLUMNS = [
  { key: "id", title: "Tenant", text: true },
  { key: "db_type", title: "Type", text: true, wide: true },
  { key: "state", title: "State", text: true },
  { key: "health", title: "Health", text: true },
  { key: "clients", title: "Clients" },
  { key: "active", title: "Active" },
  { key: "idle", title: "Idle" },
  { key: "waiting", title: "Waiting" },
  { key: "load", title: "Load" },
  { key: "qps", title: "Queries/s" },
  { key: "p99", title: "p99" },
  { key: "eps", title: "Errors/s", wide: true },
  { key: "pinned", title: "Pinned" },
  { key: "mode", title: "Mode", text: true, wide: true },
  { key: "shard", title: "Shard" },
];

let key = "";
let before = new Map();
let busyBefore = new Map();
let rows = [];
let order = { key: "waiting", down: true };
let pressedAt = -Infinity; // What a finger is on must not be put anew under it.

// Not for ever: one that leaves by a scroll bar is not seen to leave.
const isPressed = () => performance.now() - pressedAt < 1000;

const at = (id) => document.getElementById(id);

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

async function ask(path, method) {
  const headers = key ? { Authorization: "Bearer " + key } : {};
  const response = await fetch(path, { method, headers, cache: "no-store" });
  if (response.status === 401 || response.status === 403) throw new Error("key");
  // The health of an unhealthy process comes with a 503 and is what we want to show.
  if (response.ok || path === "/health") return response;
  const problem = await response.json().catch(() => ({}));
  throw new Error(problem.detail || path + ": " + response.status);
}

const get = async (path) => (await ask(path, "GET")).json();

// The time that a share of all queries stayed below, in seconds: linear within a bucket, as Prometheus does it.
function quantile(share, le, counts) {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return null;
  let rest = share * total;
  for (let i = 0; i < le.length; i++) {
    if (rest <= counts[i]) {
      const low = i === 0 ? 0 : le[i - 1];
      return low + (le[i] - low) * (rest / counts[i]);
    }
    rest -= counts[i];
  }
  return le[le.length - 1];
}

function rowOf(tenant, now) {
  const stats = tenant.stats;
  const row = { id: tenant.id, db_type: tenant.db_type, state: tenant.state, mode: tenant.pool_mode, shard: tenant.shard,
    max: tenant.max_connections, health: stats === null ? "unknown" : stats.healthy ? "healthy" : "unhealthy",
    because: stats && stats.unhealthy_because, clients: null, pinned: null, active: null, idle: null, waiting: null, load: null, qps: null, p99: null, eps: null };
  if (stats === null) return row;
  Object.assign(row, { clients: stats.clients, pinned: stats.pinned, active: stats.active, idle: stats.idle, waiting: stats.waiting, load: stats.active / row.max });
  const last = before.get(tenant.id);
  // A tenant that was removed and made again counts from 0 again.
  if (last && stats.queries >= last.stats.queries) {
    const seconds = (now - last.now) / 1000;
    row.qps = (stats.queries - last.stats.queries) / seconds;
    row.eps = (stats.errors - last.stats.errors) / seconds;
    row.counts = stats.query_duration.counts.map((count, i) => count - last.stats.query_duration.counts[i]);
    row.le = stats.query_duration.le;
    row.p99 = quantile(0.99, row.le, row.counts);
  }
  return row;
}

const number = (value, digits = 0) => value === null ? "–" : value.toLocaleString("en", { maximumFractionDigits: digits });

// A decimal where it says something, and always there, so that the points stand below each other.
function rate(value) {
  if (value === null) return "–";
  const digits = value < 1000 ? 1 : 0;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function time(seconds) {
  if (seconds === null) return "–";
  return seconds < 1 ? number(seconds * 1000, seconds < 0.01 ? 2 : 0) + " ms" : number(seconds, 1) + " s";
}

function bar(share, isFull) {
  const progress = make("progress", undefined, isFull ? "full" : "");
  Object.assign(progress, { max: 1, value: share || 0 });
  return progress;
}

function cell(row, column) {
  const value = row[column.key];
  const td = make("td", undefined, [column.key, column.text && "text", column.wide && "wide"].filter(Boolean).join(" "));
  switch (column.key) {
    case "state":
      td.append(make("span", value, "dot " + ({ active: "good", unknown: "bad" }[value] || "warn")));
      break;
    case "health":
      td.append(make("span", value, "dot " + ({ healthy: "good", unhealthy: "bad" }[value] || "warn")));
      if (row.because) {
        td.append(make("span", row.because, "because"));
        td.title = row.because;
      }
      break;
    case "load": {
      td.append(value === null ? "–" : number(value * 100) + " %");
      td.append(bar(value, value >= 0.9));
      td.title = row.active + " of " + row.max;
      break;
    }
    case "p99": td.textContent = time(value); break;
    case "qps": case "eps": td.textContent = rate(value); break;
    case "id": {
      td.title = value; // A long one is cut off.
      const button = make("button", value);
      button.dataset.focus = value;
      button.addEventListener("click", () => openSessions(value));
      td.append(button);
      break;
    }
    case "shard": case "db_type": case "mode": td.textContent = value; break;
    default:
      td.textContent = number(value);
      if (column.key === "waiting" && value > 0) td.classList.add("warn");
  }
  return td;
}

// The rows that have all words of the filter, in order; `first` says which rows come before others whatever the order.
function arrange(rows, filter, words, order, tie, first = () => 0) {
  const wanted = filter.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const shown = rows.filter((row) => wanted.every((word) => words(row).toLowerCase().includes(word)));
  const sign = order.down ? -1 : 1;
  return shown.sort((a, b) => {
    const [x, y] = [a[order.key], b[order.key]];
    if (first(a) !== first(b)) return first(a) - first(b);
    // What is not known goes last, whichever way.
    if (x === null || y === null) return (x === null) - (y === null) || tie(a, b);
    const by = typeof x === "string" ? x.localeCompare(y) : x - y;
    return sign * by || tie(a, b);
  });
}

// A table of at most so many rows. Whoever goes by keys stays where they are.
function fill(head, body, order, columns, shown, cell) {
  for (const th of at(head).children) {
    th.ariaSort = th.dataset.key === order.key ? (order.down ? "descending" : "ascending") : "none";
  }
  const focused = document.activeElement && document.activeElement.dataset.focus;
  at(body).replaceChildren(...shown.slice(0, ROWS).map((row) => {
    const tr = make("tr");
    tr.append(...columns.map((column) => cell(row, column)));
    return tr;
  }));
  if (focused) at(body).querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus();
}

function count(shown, all, what) {
  const hidden = shown - ROWS;
  if (all > 0 && shown === 0) return "No " + what.slice(0, -1) + " has these words.";
  return all === 0 ? "No " + what + "." : hidden > 0 ? hidden + " more: filter to find them." : shown + " of " + all + " " + what;
}

function show() {
  const words = (row) => [row.id, row.db_type, row.state, row.health, row.mode, "shard-" + row.shard].join(" ");
  const shown = arrange(rows, at("filter").value, words, order, (a, b) => a.id.localeCompare(b.id));
  fill("head", "body", order, COLUMNS, shown, cell);
  at("more").textContent = count(shown.length, rows.length, "tenants");
}

function showTiles() {
  const sum = (of) => rows.reduce((total, row) => total + (of(row) || 0), 0);
  const measured = rows.filter((row) => row.counts);
  const counts = measured.length ? measured[0].counts.map((_, i) => measured.reduce((total, row) => total + row.counts[i], 0)) : [];
  const unhealthy = rows.filter((row) => row.health === "unhealthy").length;
  const tiles = [
    ["Clients", number(sum((row) => row.clients))],
    ["Active", number(sum((row) => row.active))],
    ["Idle", number(sum((row) => row.idle))],
    ["Waiting", number(sum((row) => row.waiting)), sum((row) => row.waiting) ? "warn" : ""],
    ["Queries/s", measured.length ? rate(sum((row) => row.qps)) : "–"],
    ["p99", time(measured.length ? quantile(0.99, measured[0].le, counts) : null)],
    ["Errors/s", measured.length ? rate(sum((row) => row.eps)) : "–"],
    ["Unhealthy", number(unhealthy), unhealthy ? "bad" : ""],
  ];
  at("tiles").replaceChildren(...tiles.map(([title, value, look]) => {
    const tile = make("div", title, "tile " + (look || ""));
    tile.prepend(make("b", value));
    return tile;
  }));
}

function showProcess(health, shards, now) {
  at("version").textContent = health.version;
  const up = health.uptime_seconds;
  at("uptime").textContent = "up " + (up < 3600 ? Math.floor(up / 60) + " min " + up % 60 + " s" : Math.floor(up / 3600) + " h " + Math.floor(up % 3600 / 60) + " min");
  at("shards").replaceChildren(...shards.map((shard) => {
    const last = busyBefore.get(shard.shard);
    const busy = shard.answers && last ? Math.min(1, (shard.busy_seconds - last.busy) / ((now - last.now) / 1000)) : null;
    const text = number(shard.clients) + " clients, " + number(shard.tenants) + " tenants" + (busy === null ? "" : ", " + number(busy * 100) + " % busy");
    const tile = make("div", shard.answers ? text : "does not answer", "tile" + (shard.answers ? "" : " bad"));
    tile.prepend(make("b", "shard-" + shard.shard));
    tile.append(bar(busy, busy >= 0.9));
    return tile;
  }));
  busyBefore = new Map(shards.filter((shard) => shard.answers).map((shard) => [shard.shard, { now, busy: shard.busy_seconds }]));
}

// The sessions of one tenant.

const SESSION_COLUMNS = [
  { key: "user", title: "User", text: true },
  { key: "state", title: "State", text: true },
  { key: "state_seconds", title: "For" },
  { key: "transaction_seconds", title: "Transaction" },
  { key: "backend", title: "Backend" },
  { key: "client", title: "Client", text: true },
  { key: "connected_seconds", title: "Connected" },
  { key: "application", title: "Application", text: true },
  { key: "end", title: "" },
];

let watched = null; // The tenant, its sessions when they are known, and which of them is about to be ended.

function openSessions(tenant) {
  watched = { tenant, sessions: null, sure: null, order: { key: "state_seconds", down: true } };
  at("watch-name").textContent = tenant;
  for (const id of ["watch-about", "watch-more", "watch-trouble"]) at(id).textContent = "";
  at("watch-filter").value = "";
  at("watch").showModal();
  refreshSessions();
}

const pathOf = (tenant) => "/tenants/" + encodeURIComponent(tenant) + "/sessions";

async function refreshSessions() {
  if (watched === null) return;
  const tenant = watched.tenant;
  try {
    const sessions = await get(pathOf(tenant));
    if (watched === null || watched.tenant !== tenant) return;
    watched.sessions = sessions;
    at("watch-trouble").textContent = "";
  } catch (error) {
    if (error.message === "key") throw error;
    at("watch-trouble").textContent = error.message;
  }
  if (!isPressed()) showSessions();
}

function lasted(seconds) {
  if (seconds === null || seconds < 60) return time(seconds);
  const [minutes, hours] = [Math.floor(seconds / 60), Math.floor(seconds / 3600)];
  if (hours === 0) return minutes + " min " + Math.floor(seconds % 60) + " s";
  return hours < 48 ? hours + " h " + minutes % 60 + " min" : Math.floor(hours / 24) + " d " + hours % 24 + " h";
}

function sessionCell(session, column) {
  const value = session[column.key];
  const td = make("td", undefined, [column.key, column.text && "text"].filter(Boolean).join(" "));
  switch (column.key) {
    case "state":
      td.append(make("span", value.replaceAll("_", " "), "dot " + ({ idle: "", active: "good", unknown: "bad" }[value] ?? "warn")));
      break;
    case "state_seconds": case "transaction_seconds": case "connected_seconds": td.textContent = lasted(value); break;
    case "end": {
      const asked = watched.sure?.id === session.id ? watched.sure.asked : null;
      const button = make("button", asked === null ? "End" : "Really end " + session.user, asked === null ? "end" : "sure");
      button.dataset.focus = "end-" + session.id;
      if (asked === null) button.addEventListener("click", () => makeSure(session));
      else confirms(button, asked, () => endSession(session));
      td.append(button);
      break;
    }
    case "application": td.title = value ?? ""; // Falls through: a long one is cut off.
    default: td.textContent = value ?? "–";
  }
  return td;
}

function makeSure(session) {
  watched.sure = { id: session.id, asked: performance.now() };
  showSessions();
}

// A double click asks, and does not confirm. It can have the focus all the while.
function confirms(button, asked, then) {
  const left = asked + DOUBLE_CLICK_MS - performance.now();
  if (left > 0) {
    button.setAttribute("aria-disabled", "true");
    setTimeout(() => button.removeAttribute("aria-disabled"), left);
  }
  button.addEventListener("click", (event) => {
    if (!button.hasAttribute("aria-disabled") && event.detail <= 1) then();
  });
}

async function endSession(session) {
  watched.sure = null;
  try {
    await ask(pathOf(watched.tenant) + "/" + session.id, "DELETE");
  } catch (error) {
    at("watch-trouble").textContent = error.message;
    return;
  }
  refreshSessions();
}

function showSessions() {
  if (watched === null || watched.sessions === null) return;
  const { sessions, order } = watched;
  const words = (it) => [it.user, it.state.replaceAll("_", " "), it.backend, it.client, it.application].join(" ");
  // Thousands may have been idle for days; who is at work for seconds is looked for.
  const first = (it) => order.key === "state_seconds" && it.state === "idle" ? 1 : 0;
  const shown = arrange(sessions, at("watch-filter").value, words, order, (a, b) => a.id - b.id, first);
  fill("watch-head", "watch-body", order, SESSION_COLUMNS, shown, sessionCell);
  at("watch-more").textContent = count(shown.length, sessions.length, "sessions");
  const row = rows.find((row) => row.id === watched.tenant);
  at("watch-about").textContent = row ? [row.db_type, row.mode, row.state, row.health, row.active + " of " + row.max + " connections active"].join(", ") : "";
}

async function refresh() {
  const [health, tenants, shards] = await Promise.all([get("/health"), get("/tenants"), get("/shards")]);
  const now = performance.now();
  rows = tenants.map((tenant) => rowOf(tenant, now));
  before = new Map(tenants.filter((tenant) => tenant.stats).map((tenant) => [tenant.id, { now, stats: tenant.stats }]));
  showProcess(health, shards, now);
  showTiles();
  if (!isPressed()) show();
  await refreshSessions();
}

async function watch() {
  if (!document.hidden) {
    try {
      await refresh();
      at("trouble").textContent = "";
    } catch (error) {
      if (error.message === "key") {
        at("trouble").textContent = key ? "The API refuses this key." : "";
        at("key").value = "";
        at("ask").showModal();
        return; // Goes on when a key is given.
      }
      at("trouble").textContent = "No answer: " + error.message;
    }
  }
  setTimeout(watch, PERIOD_MS);
}

// The head of a table: by each column rows can be put in order.
function head(id, columns, sort) {
  at(id).append(...columns.map((column) => {
    const th = make("th", undefined, [column.key, column.text && "text", column.wide && "wide"].filter(Boolean).join(" "));
    th.dataset.key = column.key;
    if (column.title) {
      const button = make("button", column.title);
      button.addEventListener("click", () => sort(column));
      th.append(button);
    }
    return th;
  }));
}

const sortedBy = (order, column) => ({ key: column.key, down: order.key === column.key ? !order.down : !column.text });

head("head", COLUMNS, (column) => { order = sortedBy(order, column); show(); });
head("watch-head", SESSION_COLUMNS, (column) => { watched.order = sortedBy(watched.order, column); showSessions(); });
addEventListener("pointerdown", () => { pressedAt = performance.now(); }, true);
for (const over of ["pointerup", "pointercancel"]) addEventListener(over, () => { pressedAt = -Infinity; }, true);
at("watch-filter").addEventListener("input", showSessions);
at("watch").addEventListener("close", () => { watched = null; at("watch-body").replaceChildren(); });
at("filter").addEventListener("input", show);
at("ask").addEventListener("close", () => { key = at("key").value; watch(); });
watch();
