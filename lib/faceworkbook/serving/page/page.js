'use strict';
const $ = id => document.getElementById(id);
const percent = p => (100 * p).toFixed(p > 0.995 || p < 0.005 ? 1 : 0) + ' %';
const plainName = name => name.replaceAll('_', ' ');
function make(tag, text, cls) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (cls) node.className = cls;
  return node;
}
function measured(m, unit) {
  if (!m) return 'not measured on faces like this one';
  const n = `${m.n.toLocaleString('en')} test faces like this one` + (m.like ? ` (${m.like})` : '');
  if ('accuracy' in m) return `right in ${percent(m.accuracy)} [${percent(m.low)}, ${percent(m.high)}] of ${n}`;
  const ends = m.low === null ? '' : ` [${m.low.toFixed(1)}, ${m.high.toFixed(1)}]`;
  return `off by ${m.error.toFixed(1)}${ends} ${unit} on average over ${n}`;
}
function answerText(a) {
  if ('value' in a) {
    const range = a.low === null ? '' : ` (${Math.max(a.low, 0).toFixed(0)} to ${a.high.toFixed(0)}, ${percent(a.coverage)} of faces)`;
    return `${a.value.toFixed(0)} ${a.unit}${range}`;
  }
  if ('yes' in a) return a.yes.join(', ') || 'none';
  return `${a.class}, ${percent(a.probability)}`;
}
function describeFace(face, number) {
  const item = make('li');
  item.append(make('h3', face.box || face.status === 'ok' ? `Face ${number}` : 'No answer'));
  if (face.status !== 'ok') item.append(make('p', face.detail ? `${face.status}: ${face.detail}` : face.status, 'small'));
  if (face.unlike_training) item.append(make('p', 'Unlike the faces the model was trained on: do not rely on this answer.', 'warn'));
  const list = make('dl');
  for (const [task, a] of Object.entries(face.answers)) {
    list.append(make('dt', plainName(task)), make('dd', answerText(a)));
    if (a.set && a.set.length > 1) list.append(make('dd', `with ${percent(a.coverage)} coverage one of: ${a.set.join(', ')}`, 'small'));
    list.append(make('dd', measured(a.measured, a.unit || ''), 'small'));
  }
  item.append(list);
  return item;
}
function svg(tag, values) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(values)) node.setAttribute(name, value);
  return node;
}
function drawBoxes(holder, img, faces) {
  const width = img.naturalWidth, height = img.naturalHeight;
  const drawn = svg('svg', {viewBox: `0 0 ${width} ${height}`, 'aria-hidden': 'true'});
  faces.forEach((face, i) => {
    if (!face.box) return;
    const b = face.box, at = {x: b.left, y: b.top, width: Math.max(b.right - b.left, 1), height: Math.max(b.bottom - b.top, 1)};
    const size = Math.max(width, height) / 28;
    const text = svg('text', {x: b.left, y: Math.max(b.top - size / 4, size), 'font-size': size});
    text.textContent = i + 1;
    drawn.append(svg('rect', at), svg('rect', {...at, class: 'line'}), text);
  });
  holder.append(drawn);
}
function summary(photo) {
  const lines = photo.faces.map((f, i) => `face ${i + 1}: ` + (Object.entries(f.answers).map(([t, a]) => `${plainName(t)} ${answerText(a)}`).join('; ') || f.status));
  return `${photo.image}: ${lines.join('. ')}`;
}
function show(photo, file) {
  const article = make('article');
  article.append(make('h2', photo.image));
  const holder = make('div', undefined, 'photo'), img = make('img');
  img.alt = summary(photo);
  img.addEventListener('load', () => drawBoxes(holder, img, photo.faces));
  img.addEventListener('error', () => holder.replaceChildren(make('p', 'The browser cannot show this file.', 'small')));
  img.src = URL.createObjectURL(file);
  holder.append(img);
  const list = make('ul', undefined, 'faces');
  photo.faces.forEach((face, i) => list.append(describeFace(face, i + 1)));
  article.append(holder, list);
  $('answers').prepend(article);
}
async function send(file) {
  const body = new FormData();
  body.append('photo', file, file.name || 'camera.jpg');
  const response = await fetch('predict?faces=' + encodeURIComponent($('faces').value), {method: 'POST', body});
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  show(answer.photos[0], file);
  return answer.photos[0];
}
async function ask(files) {
  let done = 0;
  const failed = [], heard = [];
  for (const file of files) {
    $('status').textContent = `Reading ${done + 1} of ${files.length} …`;
    try { heard.push(summary(await send(file))); } catch (error) { failed.push(`${file.name}: ${error.message || 'the server does not answer'}`); }
    done += 1;
  }
  $('status').textContent = [...failed, ...heard.slice(0, 3)].join('. ');
  $('status').className = failed.length ? 'warn' : '';
}
$('files').addEventListener('change', event => { ask([...event.target.files]); event.target.value = ''; });
$('form').addEventListener('submit', event => event.preventDefault());
for (const name of ['dragover', 'dragenter']) document.addEventListener(name, event => { event.preventDefault(); $('form').classList.add('over'); });
document.addEventListener('dragleave', () => $('form').classList.remove('over'));
document.addEventListener('drop', event => { event.preventDefault(); $('form').classList.remove('over'); ask([...event.dataTransfer.files]); });
document.addEventListener('paste', event => { if (event.clipboardData.files.length) ask([...event.clipboardData.files]); });
let stream = null;
function stop() { if (stream) stream.getTracks().forEach(track => track.stop()); stream = null; $('live').hidden = true; }
$('camera').addEventListener('click', async () => {
  try {
    stream = await navigator.mediaDevices.getUserMedia({video: true});
    $('video').srcObject = stream;
    $('live').hidden = false;
    $('shoot').focus();
  } catch (error) { $('status').textContent = 'No camera can be used: ' + (error.message || error.name); $('status').className = 'warn'; }
});
$('stop').addEventListener('click', () => { stop(); $('camera').focus(); });
$('shoot').addEventListener('click', () => {
  const canvas = document.createElement('canvas'), video = $('video');
  canvas.width = video.videoWidth; canvas.height = video.videoHeight;
  canvas.getContext('2d').drawImage(video, 0, 0);
  canvas.toBlob(blob => ask([new File([blob], 'camera.jpg', {type: 'image/jpeg'})]), 'image/jpeg', 0.95);
});
addEventListener('pagehide', stop);
