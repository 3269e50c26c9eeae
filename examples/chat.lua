-- A chat: every room is a topic, every reader an event stream.  Open http://127.0.0.1:8080/ in two
-- windows; stop the server and start it again while you write.  Or, from two terminals:
-- curl -N http://127.0.0.1:8080/rooms/tea/events
-- curl --data-urlencode 'name=curl' --data-urlencode 'text=hello' http://127.0.0.1:8080/rooms/tea

local tg = require("tidegate")

local NAME_MAX, TEXT_MAX = 40, 2000 -- characters

--- Rooms have short names; whoever asks for another gets 404.
local rooms = {
  name = "rooms",
  enter = function(ctx)
    ctx.room = tg.topic("chat/" .. ctx.request.path_params.room)
  end,
}

--- What was said lately, then what is said. The browser comes back by itself when the connection
--- breaks, with the id of the last message that it has: nothing is lost and nothing comes twice.
local read = tg.sse(function(events, ctx)
  events:subscribe(ctx.room, { after = events.last_id or "" })
end, { retry = 1000 })

--- Trimmed; nil for nothing, for too much, and for what is no UTF-8.
local function checked(text, most)
  text = (text or ""):match("^%s*(.-)%s*$")
  local length = utf8.len(text)
  return length and length > 0 and length <= most and text or nil
end

local function say(request, ctx)
  local form = request.form_params or {}
  local name, text = checked(form.name, NAME_MAX), checked(form.text, TEXT_MAX)
  if not name or not text then
    return tg.response("a message has a name and a text\n", 422)
  end
  ctx.room:publish({ data = { name = name, text = text, at = os.time() } })
  return { status = 204 }
end

local PAGE = [[
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Chat</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 40em; margin: 0 auto; padding: 1em; }
  header { display: flex; justify-content: space-between; align-items: baseline; }
  h1 { font-size: 1.2em; }
  #state { color: #777; }
  #said { list-style: none; padding: 0; min-height: 12em; }
  #said time { color: #777; font-size: 0.8em; margin-left: 0.5em; }
  form { display: flex; gap: 0.5em; position: sticky; bottom: 0; background: #fff; }
  input { font: inherit; padding: 0.3em; min-width: 0; }
  #name { width: 8em; }
  #text { flex: 1; }
  button { font: inherit; }
</style>
<header><h1>Room <span id="room"></span></h1><span id="state">connecting</span></header>
<ol id="said"></ol>
<form>
  <input id="name" placeholder="name" maxlength="40" required autocomplete="nickname">
  <input id="text" placeholder="what you say" maxlength="2000" required autocomplete="off">
  <button>Say it</button>
</form>
<script>
  const room = location.hash.slice(1).replace(/[^a-z0-9]/g, "") || "tea"
  const url = "/rooms/" + room
  const $ = id => document.getElementById(id)
  $("room").textContent = room

  const source = new EventSource(url + "/events")
  const state = text => { $("state").textContent = text }
  source.onopen = () => state("connected")
  source.onerror = () => state(source.readyState === EventSource.CLOSED ? "gone" : "coming back")
  source.onmessage = event => {
    const { name, text, at } = JSON.parse(event.data)
    const line = document.createElement("li")
    const who = document.createElement("b")
    const time = document.createElement("time")
    who.textContent = name + ": "
    time.textContent = new Date(at * 1000).toLocaleTimeString()
    line.append(who, text, time)
    $("said").append(line)
    line.scrollIntoView()
  }

  document.querySelector("form").onsubmit = async event => {
    event.preventDefault()
    const message = new URLSearchParams({ name: $("name").value, text: $("text").value })
    const answer = await fetch(url, { method: "POST", body: message }).catch(() => null)
    if (answer && answer.ok) $("text").value = ""
    else state("that did not get through")
  }
  onhashchange = () => location.reload()
</script>
]]

local function page()
  return { body = PAGE, headers = { ["Content-Type"] = "text/html; charset=utf-8" } }
end

return {
  listen = "127.0.0.1:8080",
  routes = {
    { "/", get = page },
    { "/rooms/:room", interceptors = { rooms }, constraints = { room = "[a-z0-9]+" },
      post = { tg.body_params(), say },
      { "/events", get = read } },
  },
}
