--- tg.metrics: the figures of tg.stats in the text format that Prometheus reads.

local core = require("tidegate.core")

local CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

local ENDINGS = { "done", "client_closed", "timeout", "error", "shutdown", "cancelled" }
local ANSWERS = { "1xx", "2xx", "3xx", "4xx", "5xx", "none" }
local TOPIC_COUNTS = { "published", "delivered", "dropped" }

local function print_number(value)
  if math.type(value) == "integer" then
    return ("%d"):format(value)
  end
  local short = ("%.15g"):format(value)
  return tonumber(short) == value and short or ("%.17g"):format(value)
end

local function escape(text)
  if not utf8.len(text) then
    text = text:gsub("[\x80-\xff]", "?")
  end
  return (text:gsub('[\\"\n]', { ["\\"] = "\\\\", ['"'] = '\\"', ["\n"] = "\\n" }))
end

--- { { name, value } … } as a sample has them.
local function labels(list)
  local out = {}
  for i, label in ipairs(list) do
    out[i] = ('%s="%s"'):format(label[1], escape(label[2]))
  end
  return "{" .. table.concat(out, ",") .. "}"
end

--- Lines of one metric: its kind and help, then a sample for each { labels, value, suffix }.
local function add(out, name, kind, help, samples)
  out[#out + 1] = ("# HELP %s %s\n# TYPE %s %s\n"):format(name, help, name, kind)
  for _, sample in ipairs(samples) do
    local labelled = name .. (sample[3] or "") .. sample[1]
    out[#out + 1] = labelled .. " " .. print_number(sample[2]) .. "\n"
  end
end

local function by(label, names, counts)
  local samples = {}
  for i, name in ipairs(names) do
    samples[i] = { labels({ { label, name } }), counts[name] }
  end
  return samples
end

local function sorted_keys(map)
  local keys = {}
  for key in pairs(map) do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  return keys
end

--- Of each route, and what it was answered.
local function add_routes(out, routes)
  local answers, seconds, bytes = {}, {}, {}
  for i, name in ipairs(sorted_keys(routes)) do
    local route = routes[name]
    for _, status in ipairs(sorted_keys(route.answers)) do
      answers[#answers + 1] = {
        labels({ { "route", name }, { "status", status } }), route.answers[status],
      }
    end
    local label = labels({ { "route", name } })
    seconds[i] = { label, route.microseconds / 1e6 }
    bytes[i] = { label, route.bytes }
  end
  add(out, "tidegate_route_responses_total", "counter",
    "Exchanges that have ended, by route and status.", answers)
  add(out, "tidegate_route_seconds_total", "counter",
    "Time from a request's head to the end of its exchange, added up.", seconds)
  add(out, "tidegate_route_body_bytes_total", "counter", "Bytes of response bodies.", bytes)
end

--- Of each worker.
local function add_loops(out, loops)
  local lag, waits, memory = {}, {}, {}
  for i, loop in ipairs(loops) do
    local worker = { "worker", ("%d"):format(i) }
    local label = labels({ worker })
    for _, bucket in ipairs(loop.lag.buckets) do
      local up_to = ("%g"):format(bucket.up_to)
      lag[#lag + 1] = { labels({ worker, { "le", up_to } }), bucket.count, "_bucket" }
    end
    lag[#lag + 1] = { labels({ worker, { "le", "+Inf" } }), loop.lag.count, "_bucket" }
    lag[#lag + 1] = { label, loop.lag.sum, "_sum" }
    lag[#lag + 1] = { label, loop.lag.count, "_count" }
    waits[i] = { label, loop.waits }
    memory[i] = { label, loop.lua }
  end
  add(out, "tidegate_loop_lag_seconds", "histogram",
    "How late a worker's loop was, looked at four times a second.", lag)
  add(out, "tidegate_waits_total", "counter", "How often a script has begun to wait.", waits)
  add(out, "tidegate_lua_bytes", "gauge", "Memory of a worker's Lua states.", memory)
end

local function text_of(stats, routes)
  local out = {}
  local exchanges, topics, upstream = stats.exchanges, stats.topics, stats.upstream
  local function one(name, kind, help, value)
    add(out, "tidegate_" .. name, kind, help, { { "", value } })
  end
  one("workers", "gauge", "Event loops.", stats.workers)
  one("generation", "gauge", "How often the script was loaded.", stats.generation)
  add(out, "tidegate_reloads_total", "counter", "Times that the script was loaded anew.", {
    { labels({ { "result", "done" } }), stats.generation - 1 },
    { labels({ { "result", "failed" } }), stats.reloads_failed },
  })
  one("uptime_seconds", "gauge", "Since the gateway was made.", stats.uptime)
  one("connections", "gauge", "Connections that are open.", stats.connections)
  one("exchanges_open", "gauge", "Exchanges that have not ended.", exchanges.open)
  one("streams_open", "gauge", "Responses that have begun and have not ended.", exchanges.streams)
  one("exchanges_total", "counter", "Exchanges begun.", exchanges.total)
  add(out, "tidegate_exchanges_ended_total", "counter", "Exchanges by how they ended.",
    by("ending", ENDINGS, exchanges))
  add(out, "tidegate_responses_total", "counter", "Exchanges by the status that was sent.",
    by("status", ANSWERS, exchanges))
  one("body_bytes_total", "counter", "Bytes of response bodies.", exchanges.bytes)
  add_routes(out, routes)
  add_loops(out, stats.loops)
  one("heap_bytes", "gauge", "Memory of the process, as its allocator counts.", stats.memory.heap)
  one("upstream_requests_total", "counter", "Requests to other servers.", upstream.total)
  one("upstream_requests_open", "gauge", "Those that have not ended.", upstream.open)
  add(out, "tidegate_upstream_failures_total", "counter", "Those that have failed, by how.",
    by("kind", sorted_keys(upstream.failed), upstream.failed))
  one("upstream_connections", "gauge", "Connections to other servers.", upstream.connections)
  one("topics", "gauge", "Topics that somebody holds.", topics.count)
  one("topic_subscribers", "gauge", "Subscribers of all topics.", topics.subscribers)
  one("topic_slow_subscribers", "gauge", "Those that are not done reading.", topics.slow)
  add(out, "tidegate_topic_events_total", "counter", "Events of all topics.",
    by("what", TOPIC_COUNTS, topics))
  return table.concat(out)
end

--- A handler that answers with the gateway's figures, of all workers, in Prometheus's text format.
---@return fun(): tidegate.Response
local function metrics()
  return function()
    local headers = { ["Content-Type"] = CONTENT_TYPE }
    return { status = 200, headers = headers, body = text_of(core.stats(), core.route_stats()) }
  end
end

return metrics
