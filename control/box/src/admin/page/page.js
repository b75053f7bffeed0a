// The page is complete without this. Here it is asked for again and again, and what has changed of its parts is put in the place of
// the old ones; who points at the first drawing is told what was measured then. Nothing is shown as new that is not.
'use strict';
(() => {
  const PAUSE_MS = 2000;      // from an answer to the next question
  const PATIENCE_MS = 10000;  // an answer that is not there by then does not come
  const KEPT = 500;           // moments
  const SHARE = 4;            // a box that takes long to answer is asked less often: a part of its time at most

  const id = (name) => document.getElementById(name);
  const [choice, live, said, pointed] = ['choice', 'live', 'said', 'pointed'].map(id);
  const drawn = id('over-time');
  let answered = Date.now();  // when the last answer came
  let resumed = answered;     // when this page was last looked at again
  let silent = false;         // whether the last question got none
  let timer = 0;
  let turn = 0;               // an answer to what was asked before the choice changed is not shown
  let moments = [];           // the history, as far as it was asked for
  let at = null;              // the time that is pointed at; null: none

  const asked = () => new URLSearchParams(new FormData(choice));

  async function get(path) {
    const answer = await fetch(path, { cache: 'no-store', signal: AbortSignal.timeout(PATIENCE_MS) });
    if (answer.status === 400) location.assign('/'); // the policy is gone
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    return answer;
  }

  // What was measured since what is known: only that is asked for.
  async function learn(policy, mine) {
    const last = moments.length ? moments[moments.length - 1].time_ms : 0;
    const query = new URLSearchParams({ since: last });
    if (policy) query.set('policy', policy);
    const history = await (await get(`/v1/history?${query}`)).json();
    if (mine !== turn) return;
    moments = moments.concat(history.moments).slice(-KEPT);
  }

  // New parts in the place of old ones; not under somebody who marks text in one.
  function put(text) {
    const page = new DOMParser().parseFromString(text, 'text/html');
    const marked = document.getSelection();
    for (const part of document.querySelectorAll('[data-live]')) {
      const now = page.getElementById(part.id);
      const held = marked && !marked.isCollapsed && part.contains(marked.anchorNode);
      if (!now || held || now.innerHTML === part.innerHTML) continue;
      const link = part.contains(document.activeElement) ? document.activeElement.getAttribute('href') : null;
      part.replaceChildren(...document.importNode(now, true).childNodes);
      if (link) [...part.querySelectorAll('a')].find((one) => one.getAttribute('href') === link)?.focus();
    }
    const chart = drawn.querySelector('svg');
    const newest = moments.length ? moments[moments.length - 1].time_ms : 0;
    if (chart && newest > Number(chart.dataset.to) + 60000) moments = []; // the box's clock was set back
    point();
  }

  async function refresh() {
    clearTimeout(timer);
    if (document.hidden) return;
    const [mine, start, query] = [turn, Date.now(), asked()];
    try {
      await learn(query.get('policy'), mine);
      query.set('live', '1');
      const text = await (await get(`/?${query}`)).text();
      if (mine !== turn) return;
      put(text);
      answered = Date.now();
      hear(false);
    } catch {
      if (mine === turn) hear(true);
    }
    if (mine === turn) timer = setTimeout(refresh, Math.max(PAUSE_MS, (Date.now() - start) * SHARE));
  }

  // To those who listen it is said once; to those who look all the time.
  function hear(nothing) {
    if (nothing !== silent) said.textContent = nothing ? 'The box does not answer. What is shown is old.' : 'The box answers again.';
    silent = nothing;
    stand();
  }

  function stand() {
    const seconds = Math.round((Date.now() - answered) / 1000);
    const late = silent || Date.now() - Math.max(answered, resumed) > 15000;
    live.hidden = false;
    live.className = document.hidden ? 'waits' : late ? 'lost' : '';
    live.textContent = document.hidden ? 'paused' : late ? `no answer since ${seconds} s` : 'live';
    document.body.classList.toggle('stale', late && !document.hidden);
  }

  function duration(ns) {
    const [number, unit] = ns < 1e3 ? [ns, 'ns'] : ns < 1e6 ? [ns / 1e3, 'us'] : ns < 1e9 ? [ns / 1e6, 'ms'] : [ns / 1e9, 's'];
    return `${unit === 'ns' ? number : number.toPrecision(3)} ${unit}`;
  }

  // The line at the pointer, and what was measured then.
  function point() {
    const chart = drawn.querySelector('svg');
    for (const old of drawn.querySelectorAll('.pointer')) old.remove();
    pointed.hidden = !chart || at === null || !moments.length;
    if (pointed.hidden) return;
    const near = moments.reduce((best, one) => (Math.abs(one.time_ms - at) < Math.abs(best.time_ms - at) ? one : best));
    const [from, to] = [Number(chart.dataset.from), Number(chart.dataset.to)];
    const x = (near.time_ms - from) / (to - from) * 1000;
    const line = document.createElementNS('http://www.w3.org/2000/svg', 'path');
    line.setAttribute('class', 'pointer');
    line.setAttribute('d', `M${x.toFixed(1)},0V${chart.dataset.height}`);
    chart.querySelector('svg').append(line);
    const times = (spread) => (spread.count ? `${duration(spread.p50_ns)}, 99% below ${duration(spread.p99_ns)}` : 'nothing measured');
    const text = `${new Date(near.time_ms).toISOString().slice(11, 19)} UTC: network ${times(near.round_trip)}; ` +
      `servers ${times(near.server_delay)}; ${near.accepted} came back, ${near.lost} lost, ${near.late} late`;
    if (pointed.textContent !== text) pointed.textContent = text; // it is read out
  }

  function move(event) {
    const chart = drawn.querySelector('svg');
    if (!chart) return;
    const { left, width } = chart.getBoundingClientRect();
    const [from, to] = [Number(chart.dataset.from), Number(chart.dataset.to)];
    at = from + Math.min(1, Math.max(0, (event.clientX - left) / width)) * (to - from);
    point();
  }

  // Left and right go from moment to moment, escape leaves.
  function key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === 'Escape') at = null;
    else if (step && moments.length) {
      const from = at === null ? moments.length : moments.findIndex((moment) => moment.time_ms >= at);
      at = moments[Math.min(moments.length - 1, Math.max(0, (from < 0 ? moments.length : from) + step))].time_ms;
      event.preventDefault();
    } else return;
    point();
  }

  function choose(event) {
    if (event) event.preventDefault();
    [turn, moments, at] = [turn + 1, [], null];
    history.replaceState(null, '', `/?${asked()}`);
    refresh();
  }

  choice.querySelector('button').hidden = true;
  choice.addEventListener('change', choose);
  choice.addEventListener('submit', choose);
  drawn.tabIndex = 0;
  drawn.setAttribute('role', 'group');
  drawn.setAttribute('aria-label', 'Delays over time: left and right go from moment to moment');
  drawn.setAttribute('aria-describedby', 'pointed');
  drawn.addEventListener('pointermove', move);
  drawn.addEventListener('pointerleave', () => { at = null; point(); });
  drawn.addEventListener('keydown', key);
  drawn.addEventListener('blur', () => { at = null; point(); });
  document.addEventListener('visibilitychange', () => { resumed = Date.now(); stand(); refresh(); });
  setInterval(stand, 1000);
  stand();
  refresh();
})();
