// A client of the socket in plain JavaScript: log in, subscribe, follow, and come back without missing anything.
// Tokens are held in memory alone: a reload logs out, and no other script finds them in a store.

const NOT_AUTHENTICATED = 4001
const SESSION_ENDED = 4003
const SHOWN_POSTS = 10
const LONGEST_PAUSE = 10_000

const state = document.querySelector('#state')
const login = document.querySelector('#login')
const list = document.querySelector('#posts')
const articles = new Map() // by post id
const places = new Map() // the last offset seen, by channel
let tokens = null
let socket = null
let pause = 500

async function call(method, path, { json, form } = {}) {
  const headers = {}
  if (tokens) headers.Authorization = `Bearer ${tokens.access_token}`
  if (json) headers['Content-Type'] = 'application/json'
  const body = json ? JSON.stringify(json) : form
  const answer = await fetch(path, { method, headers, body })
  if (answer.status === 401 && tokens && path !== 'auth/refresh') {
    if (await refresh()) return call(method, path, { json, form })
  }
  return answer
}

async function refresh() {
  const answer = await call('POST', 'auth/refresh', { json: { refresh_token: tokens.refresh_token } })
  if (answer.ok) tokens = await answer.json()
  else if (answer.status === 401) end('The session has ended')
  return answer.ok
}

function end(reason) {
  tokens = null
  socket?.close()
  places.clear()
  articles.clear()
  list.replaceChildren()
  list.hidden = true
  login.hidden = false
  state.textContent = 'Not connected'
  login.querySelector('#refusal').textContent = reason
}

// Posts and comments

function show(post) {
  let article = articles.get(post.id)
  if (!article) {
    article = document.querySelector('#post').content.firstElementChild.cloneNode(true)
    article.dataset.id = post.id
    article.querySelector('form').addEventListener('submit', (event) => {
      event.preventDefault()
      write(post.id, event.target)
    })
    articles.set(post.id, article)
    const older = [...list.children].find((other) => Number(other.dataset.id) < post.id)
    list.insertBefore(article, older ?? null)
    for (const surplus of [...list.children].slice(SHOWN_POSTS)) forget(Number(surplus.dataset.id))
  }
  article.querySelector('h2').textContent = post.title
  article.querySelector('p').textContent = post.body
}

function forget(id) {
  articles.get(id).remove()
  articles.delete(id)
  places.delete(`post:${id}`)
  send({ type: 'unsubscribe', channel: `post:${id}` })
}

function showComment(comment) {
  const comments = articles.get(comment.post_id)?.querySelector('ol')
  // What is read and what arrives may be the same, and come in any order.
  if (!comments || comments.querySelector(`[data-id="${comment.id}"]`)) return
  const item = document.createElement('li')
  item.dataset.id = comment.id
  item.textContent = comment.body
  comments.insertBefore(item, [...comments.children].find((other) => Number(other.dataset.id) > comment.id) ?? null)
}

async function write(id, form) {
  const answer = await call('POST', `posts/${id}/comments`, { json: { body: form.elements.body.value } })
  if (answer.ok) form.reset()
}

// The state as it is, for a channel whose messages from before are not known: at first, and when too many were missed.
async function load(channel) {
  const id = channel.split(':')[1]
  const answer = await call('GET', id ? `posts/${id}/comments?limit=20` : `posts?limit=${SHOWN_POSTS}`)
  if (!answer.ok) return
  for (const item of (await answer.json()).items.reverse()) {
    if (id) showComment(item)
    else {
      show(item)
      if (!places.has(`post:${item.id}`)) subscribe(`post:${item.id}`)
    }
  }
}

// The socket

function send(message) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message))
}

function subscribe(channel) {
  send({ type: 'subscribe', channel, ...(places.has(channel) && { since: places.get(channel) }) })
}

async function connect() {
  let answer
  try {
    answer = await call('POST', 'auth/ws-ticket')
  } catch {
    return retry()
  }
  if (!answer.ok) return tokens && retry()
  const address = new URL('ws', document.baseURI)
  address.protocol = address.protocol.replace('http', 'ws')
  address.searchParams.set('token', (await answer.json()).ticket)
  socket = new WebSocket(address)
  socket.onopen = () => {
    state.textContent = 'Connected'
    pause = 500
    subscribe('posts')
    for (const id of articles.keys()) subscribe(`post:${id}`)
  }
  socket.onmessage = (event) => receive(JSON.parse(event.data))
  socket.onclose = async ({ code }) => {
    if (!tokens) return
    // The token expires before the session does: then a refreshed one goes on where this one stopped.
    if (code === NOT_AUTHENTICATED || code === SESSION_ENDED) await refresh().catch(() => false)
    if (tokens) retry()
  }
}

function retry() {
  state.textContent = 'Reconnecting'
  // A random part, so that not all clients of a server that restarts come back at once.
  setTimeout(connect, pause * (0.5 + Math.random()))
  pause = Math.min(pause * 2, LONGEST_PAUSE)
}

function receive(message) {
  const { type, channel, offset, data } = message
  // Whatever was asked for, it is asked for again.
  if (type === 'error' && message.code === 'SERVICE_UNAVAILABLE') socket.close()
  else if (type === 'subscribed') {
    places.set(channel, offset)
    if (!message.recovered) {
      // After subscribing, so that nothing can come between; without it, from the beginning.
      load(channel).catch(() => {
        places.delete(channel)
        socket.close()
      })
    }
  } else if (type === 'message') {
    places.set(channel, offset)
    if (channel === 'posts') {
      show(data)
      if (!places.has(`post:${data.id}`)) subscribe(`post:${data.id}`)
    } else {
      showComment(data)
    }
  }
}

login.addEventListener('submit', async (event) => {
  event.preventDefault()
  const refusal = login.querySelector('#refusal')
  refusal.textContent = ''
  const answer = await call('POST', 'auth/login', { form: new URLSearchParams(new FormData(login)) })
  if (!answer.ok) {
    refusal.textContent = (await answer.json()).detail
    return
  }
  tokens = await answer.json()
  login.reset()
  login.hidden = true
  list.hidden = false
  await connect()
})
