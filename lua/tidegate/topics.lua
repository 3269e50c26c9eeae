--- topics: handlers for topics: publishing by POST, long polling.

local core = require("tidegate.core")

local topics = {}

local NAME_MAX = 255 -- bytes of an event's name, and of its key

-- --- What the two have in common ---

local function answer(status, text, headers)
  headers = headers or {}
  headers["Content-Type"] = "text/plain; charset=utf-8"
  return { status = status, headers = headers, body = text .. "\n" }
end

local function check_options(options, kinds, where)
  for name, value in pairs(options) do
    if not kinds[name] then
      error(("%s: unknown option %s"):format(where, tostring(name)), 3)
    end
    if type(value) ~= kinds[name] then
      error(("%s: %s is a %s, this is a %s"):format(where, name, kinds[name], type(value)), 3)
    end
  end
  return options
end

local function is_topic(value)
  local metatable = type(value) == "userdata" and getmetatable(value)
  return metatable and metatable.__name == "tidegate.Topic"
end

-- A function that gives a request's topic; nil when there is none for it.
local function finder(topic, where)
  if type(topic) == "function" then
    return function(request, ctx)
      local found = topic(request, ctx)
      if type(found) == "string" then
        return core.topic(found)
      end
      return found
    end
  end
  if type(topic) == "string" then
    topic = core.topic(topic)
  end
  if not is_topic(topic) then
    error(("%s: expected a topic, its name, or a function that gives one"):format(where), 3)
  end
  return function()
    return topic
  end
end

-- --- Publishing ---

-- Whether the body is JSON; nil when it is nothing that can be published.
local function is_json(request)
  local value = request.headers["content-type"]
  if not value then
    return false
  end
  local kind = value:match("^%s*([^;%s]*)"):lower()
  local charset = value:lower():match(';%s*charset="?([^;"%s]*)')
  if charset and charset ~= "utf-8" and charset ~= "us-ascii" then
    return nil
  end
  if kind == "application/json" or kind:find("^application/.*%+json$") then
    return true
  end
  if kind == "text/plain" then
    return false
  end
  return nil
end

-- The whole body, or nil when it is larger than that.
local function read(request, max)
  local length = math.tointeger(tonumber(request.headers["content-length"]))
  if length and length > max then
    return nil
  end
  local parts, size = {}, 0
  for chunk in request.body:chunks() do
    size = size + #chunk
    if size > max then
      return nil
    end
    parts[#parts + 1] = chunk
  end
  return table.concat(parts)
end

local function is_name(text)
  return not text or (#text <= NAME_MAX and not text:find("[%c]") and utf8.len(text) ~= nil)
end

-- Why the event cannot be published, or nil.
local function problem(event)
  if event.json and not core.json.valid(event.data) then
    return "the body is not JSON"
  end
  if not event.json and not utf8.len(event.data) then
    return "the body is not UTF-8"
  end
  if not is_name(event.event) or (event.event or ""):find("^tidegate%-") then
    return "event is no name of an event"
  end
  if not is_name(event.key) then
    return "key is no key of an event"
  end
end

--- A topic, its name, or what gives one for a request; nil is answered with 404.
---@alias tidegate.TopicFinder
---| tidegate.Topic
---| string
---| async fun(request: tidegate.Request, ctx: tidegate.Context): tidegate.Topic|string|nil

--- authorise says whether the request may publish. Where it does not, its second result may be the
--- response; else that is a 403.
---@class tidegate.PublishOptions
---@field authorise? async fun(request: tidegate.Request, ctx: tidegate.Context): any, any
---@field max_bytes? integer of a body (65536)

--- A handler that publishes the body of a POST: JSON (application/json) or text (text/plain);
--- `event` and `key` may be in the query. The answer is { "id": "…" }; else 403, 404 where there is
--- no topic, 410 where it was closed, 413, 415, or 400 for what is not JSON, or not UTF-8.
---@param topic tidegate.TopicFinder
---@param options? tidegate.PublishOptions
---@return function handler
function topics.publish_handler(topic, options)
  local kinds = { authorise = "function", max_bytes = "number" }
  options = check_options(options or {}, kinds, "tg.publish_handler")
  local max = options.max_bytes or 65536
  local find = finder(topic, "tg.publish_handler")

  return function(request, ctx)
    if options.authorise then
      local yes, response = options.authorise(request, ctx)
      if not yes then
        return response or answer(403, "publishing is not allowed")
      end
    end
    local room = find(request, ctx)
    if not room then
      return answer(404, "there is no such topic")
    end
    local json = is_json(request)
    if json == nil then
      local accept = { Accept = "application/json, text/plain" } -- RFC 9110, 15.5.16
      return answer(415, "application/json, or text/plain in UTF-8", accept)
    end
    local data = read(request, max)
    if not data then
      return answer(413, ("an event has at most %d bytes"):format(max))
    end
    local query = request.query
    local event = { event = query.event, key = query.key, data = data, json = json }
    local why = problem(event)
    if why then
      return answer(400, why)
    end
    local id = room:publish(event)
    if not id then
      return answer(410, "the topic was closed")
    end
    return { status = 200, body = { id = id }, headers = { ["Content-Type"] = "application/json" } }
  end
end

-- --- Long polling ---

---@class tidegate.PollOptions
---@field timeout? number seconds (25); less than limits.response_timeout

--- A handler that answers with the events that follow the id `after` of the query: at once when
--- there are some, else when one comes; 204 when none did within the timeout. Without `after` it
--- waits for the next. They are a JSON array, or lines for a client that accepts
--- application/x-ndjson. The header Last-Event-ID is the id to ask after the next time.
---@param topic tidegate.TopicFinder
---@param options? tidegate.PollOptions
---@return function handler
function topics.poll(topic, options)
  options = check_options(options or {}, { timeout = "number" }, "tg.poll")
  local timeout = options.timeout or 25
  if timeout < 0 or timeout ~= timeout then
    error("tg.poll: timeout: expected seconds of zero or more", 2)
  end
  local find = finder(topic, "tg.poll")

  return function(request, ctx)
    local room = find(request, ctx)
    if not room then
      return answer(404, "there is no such topic")
    end
    local accept = (request.headers.accept or ""):lower()
    local lines = accept:find("application/x-ndjson", 1, true) ~= nil
    local after = request.query.after or request.headers["last-event-id"]
    local text, id = room:_poll(after, timeout, lines)
    if not id then
      return answer(410, "the topic was closed")
    end
    local headers = { ["Cache-Control"] = "no-store", ["Last-Event-ID"] = id }
    if not text then
      return { status = 204, headers = headers }
    end
    headers["Content-Type"] = lines and "application/x-ndjson" or "application/json"
    return { status = 200, headers = headers, body = text }
  end
end

return topics
