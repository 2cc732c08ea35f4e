// Keeps an open page up to date: the server sends what changes, rendered by the templates that
// rendered the page, so that nothing is put together here.

const policy = window.trustedTypes
  ? trustedTypes.createPolicy('apixo-relay', {createHTML: (html) => html})
  : {createHTML: (html) => html};

const root = document.documentElement;
const connection = document.getElementById('connection');
const latest = document.getElementById('latest');
const pause = document.getElementById('pause');

// maxItems is how many items a list keeps.
const maxItems = 50;

let paused = false;
let waiting = {replace: {}, prepend: []}; // what came while the page was paused

function fill(element, html) {
  element.innerHTML = policy.createHTML(html);
}

// Somebody who is in a part with the keyboard, or has marked text in it, keeps it as it is.
function isInUse(element) {
  const selection = document.getSelection();
  return element.contains(document.activeElement) ||
    (selection && !selection.isCollapsed && element.contains(selection.anchorNode));
}

const held = new Map(); // parts that are in use, and what they are to be

function replace(id, html) {
  const element = document.getElementById(id);
  if (!element) return;
  if (id !== 'connection' && isInUse(element)) {
    held.set(id, html);
    return;
  }
  held.delete(id);
  fill(element, html);
}

function prepend(id, html) {
  const list = document.getElementById(id);
  if (!list) return;
  const parsed = document.createElement('ol');
  fill(parsed, html);
  const known = new Set(Array.from(list.children, (item) => item.dataset.serial));
  const fresh = Array.from(parsed.children).filter((item) => !known.has(item.dataset.serial));
  list.prepend(...fresh);
  for (let i = list.children.length - 1; i >= maxItems; i--) {
    const item = list.children[i];
    if (!item.contains(document.activeElement)) item.remove();
  }
  if (list.nextElementSibling?.matches('.empty')) list.nextElementSibling.remove();
}

function apply(update) {
  for (const [id, html] of Object.entries(update.replace ?? {})) replace(id, html);
  for (const [id, html] of Object.entries(update.prepend ?? {})) prepend(id, html);
  if (update.reload) location.reload();
}

document.addEventListener('focusout', () => {
  // After the focus has arrived elsewhere.
  setTimeout(() => {
    for (const [id, html] of Array.from(held)) replace(id, html);
  });
});

// An address that is dead shows no picture of that: its place stays.
for (const type of ['error', 'load']) {
  document.addEventListener(type, (event) => {
    if (event.target instanceof HTMLImageElement) event.target.classList.toggle('broken', type === 'error');
  }, true);
}
for (const image of document.images) image.classList.toggle('broken', image.complete && image.naturalWidth === 0);

if (latest && pause) {
  pause.hidden = false;
  pause.addEventListener('click', () => {
    paused = !paused;
    pause.setAttribute('aria-pressed', String(paused));
    pause.textContent = paused ? 'Go on' : 'Pause';
    if (paused) return;
    for (const prepend of waiting.prepend) apply({prepend});
    apply({replace: waiting.replace});
    waiting = {replace: {}, prepend: []};
  });
}

function lost() {
  root.dataset.live = 'lost';
  const text = document.createElement('p');
  text.className = 'trouble';
  text.textContent = 'This page has lost its server (apixo-relay ui). It goes on by itself when that is back.';
  connection.replaceChildren(text);
}

// A page that nobody sees holds no connection: a browser has six of them for one server.
let source;
let after = ''; // where to go on

function open() {
  const address = new URL(document.body.dataset.live, location.href);
  if (after) address.searchParams.set('after', after);
  source = new EventSource(address);
  source.addEventListener('open', () => {
    if (root.dataset.live === 'lost') connection.replaceChildren();
    root.dataset.live = 'on';
  });
  source.addEventListener('error', () => {
    lost();
    // What the server has answered with an error is not tried again by the browser.
    if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 5000);
  });
  source.addEventListener('message', (event) => {
    const update = JSON.parse(event.data);
    after = event.lastEventId || after;
    if (paused && !update.reload) {
      const status = update.replace?.connection;
      if (status !== undefined) replace('connection', status);
      Object.assign(waiting.replace, update.replace);
      if (update.prepend) waiting.prepend = waiting.prepend.concat(update.prepend).slice(-maxItems);
      return;
    }
    apply(update);
  });
}

function close() {
  source?.close();
  source = undefined;
}

root.dataset.live = 'off';
if (document.body.dataset.live) {
  if (!document.hidden) open();
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) close();
    else if (!source) open();
  });
  addEventListener('pagehide', close);
  addEventListener('pageshow', (event) => event.persisted && !source && open());
}
