--- tg.metrics: the figures of tg.stats in the text format that Prometheus reads.

local core = require("tidegate.core")

local CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

local ENDINGS = { "done", "client_closed", "timeout", "error", "shutdown", "cancelled" }
local ANSWERS = { "1xx", "2xx", "3xx", "4xx", "5xx", "none" }
local TOPIC_COUNTS = { "published", "delivered", "dropped" }

--- Lines of one metric: its kind and help, then a sample for each { labels, value }.
local function add(out, name, kind, help, samples)
  out[#out + 1] = ("# HELP %s %s\n# TYPE %s %s\n"):format(name, help, name, kind)
  for _, sample in ipairs(samples) do
    local value = sample[2]
    local text = math.type(value) == "integer" and ("%d"):format(value) or ("%.17g"):format(value)
    out[#out + 1] = name .. sample[1] .. " " .. text .. "\n"
  end
end

local function by(label, names, counts)
  local samples = {}
  for i, name in ipairs(names) do
    samples[i] = { ('{%s="%s"}'):format(label, name), counts[name] }
  end
  return samples
end

local function text_of(stats)
  local out = {}
  local exchanges, topics = stats.exchanges, stats.topics
  local function one(name, kind, help, value)
    add(out, "tidegate_" .. name, kind, help, { { "", value } })
  end
  one("workers", "gauge", "Event loops.", stats.workers)
  one("generation", "counter", "Times that the script was loaded.", stats.generation)
  one("uptime_seconds", "gauge", "Since the gateway was made.", stats.uptime)
  one("connections", "gauge", "Connections that are open.", stats.connections)
  one("exchanges_open", "gauge", "Exchanges that have not ended.", exchanges.open)
  one("exchanges_total", "counter", "Exchanges begun.", exchanges.total)
  add(out, "tidegate_exchanges_ended_total", "counter", "Exchanges by how they ended.",
    by("ending", ENDINGS, exchanges))
  add(out, "tidegate_responses_total", "counter", "Exchanges by the status that was sent.",
    by("status", ANSWERS, exchanges))
  one("body_bytes_total", "counter", "Bytes of response bodies.", exchanges.bytes)
  one("lua_bytes", "gauge", "Memory of the Lua state that answers.", stats.memory.lua)
  one("heap_bytes", "gauge", "Memory of the process, as its allocator counts.", stats.memory.heap)
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
    return { status = 200, headers = headers, body = text_of(core.stats()) }
  end
end

return metrics
