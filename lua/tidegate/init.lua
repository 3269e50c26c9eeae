--- tidegate: what a script gets from `require "tidegate"`.

local body_params = require("tidegate.body_params")
local core = require("tidegate.core")
local errors = require("tidegate.errors")
local files = require("tidegate.files")
local formats = require("tidegate.formats")
local limit = require("tidegate.limit")
local metrics = require("tidegate.metrics")
local multipart = require("tidegate.multipart")
local pool = require("tidegate.pool")
local proxy = require("tidegate.proxy")
local routes = require("tidegate.routes")
local service = require("tidegate.service")
local sse = require("tidegate.sse")
local tasks = require("tidegate.tasks")
local tee = require("tidegate.tee")
local test = require("tidegate.test")
local topics = require("tidegate.topics")

---@class tidegate
local tg = {}

-- What C provides; meta.lua declares it.
for name, value in pairs(core) do
  tg[name] = value
end

tg.files = files.handler
tg.body_params = body_params
tg.format = formats.add
tg.limit = limit
tg.metrics = metrics
tg.multipart = multipart
tg.on_error = errors.on_error
tg.error = errors.raise
tg.sse = sse.handler
tg.all = tasks.all
tg.race = tasks.race
tg.timeout = tasks.timeout
tg.tee = tee
tg.test = test
tg.publish_handler = topics.publish_handler
tg.poll = topics.poll
tg.pool = pool.new
tg.proxy = proxy

--- A response. Without a status it is 200.
---@param body any
---@param status? integer
---@param headers? table<string, string|number|string[]>
---@return tidegate.Response
function tg.response(body, status, headers)
  return { status = status or 200, headers = headers, body = body }
end

--- Sends the client elsewhere.
---@param url string goes into Location as it is: percent-encode what needs it
---@param status? integer 301, 302, 303 (the default), 307 or 308
---@return tidegate.Response
function tg.redirect(url, status)
  if type(url) ~= "string" then
    error("tg.redirect: expected a URL, got " .. type(url), 2)
  end
  return { status = status or 303, headers = { Location = url } }
end

---@type tidegate.Description?
local loaded
local served = false -- what is loaded is the gateway's, not one that tg.test tries

--- The path of a named route of the script that is loaded, its parameters percent-encoded. What is
--- no parameter of the route goes to the query.
---@param name string
---@param params? table<string, string|number|(string|number)[]>
---@return string path
function tg.url_for(name, params)
  if not loaded then
    error("tg.url_for: the routes are known once the script has loaded", 2)
  end
  return routes.url_for(loaded, name, params)
end

--- An interceptor that asks for the exchange's line in the access log. The gateway writes that line
--- itself when the exchange has ended, however it did, and writes it by default: the interceptor
--- says so in a script, and adds nothing to it.
---@return tidegate.Interceptor
function tg.access_log()
  return { name = "access_log", enter = function() end }
end

--- For the gateway: checks what the script returned and keeps its routes; but for those of a guest,
--- a service that tg.test tries.
---@param value any
---@param known { limits: string[] }
---@param guest? boolean
---@return tidegate.Description? description
---@return string[]? problems
function tg._load(value, known, guest)
  local description, problems = service.check(value, known)
  if not guest then
    loaded, served = description, true
  end
  return description, problems
end

--- For tg.test: the guest whose exchange begins, for tg.url_for where no service is loaded.
---@param description tidegate.Description
function tg._use(description)
  if not served then
    loaded = description
  end
end

return tg
