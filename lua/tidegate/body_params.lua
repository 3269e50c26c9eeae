--- tg.body_params: an interceptor that reads a request's body whole, and what it says.

local core = require("tidegate.core")
local options = require("tidegate.options")

local PARAMS_MAX = 1000
local KNOWN = { max_params = "an integer of more than zero", pass = "boolean" }
local FORM = "application/x-www-form-urlencoded"

---@class tidegate.BodyParamsOptions
---@field max_params? integer pairs of a form (1000)
---@field pass? boolean bodies of other types are left alone (415)

local function refuse(status, message)
  error({ status = status, message = message }, 0)
end

local function has_body(request)
  local headers = request.headers
  return headers["transfer-encoding"] ~= nil or (tonumber(headers["content-length"]) or 0) > 0
end

--- The media type in lower case, and its charset.
local function content_type(request)
  local value = request.headers["content-type"] or ""
  local media_type = value:match("^%s*([^;%s]+)") or ""
  local charset = value:lower():match(";%s*charset%s*=%s*\"?([^\";%s]+)")
  return media_type:lower(), charset or "utf-8"
end

local function is_json(media_type)
  return media_type == "application/json" or media_type:sub(-5) == "+json"
end

local function read_json(request)
  local value, why = core.json.decode(request.body:all())
  if value == nil then
    refuse(400, (why:gsub("^the text", "the request's body")))
  end
  request.json_params = value
  request.body_params = value
end

local function read_form(request, most)
  local text = request.body:all()
  local params = core._parse_form(text, false, most)
  if not params then
    refuse(400, ("the request's form has more than %d parameters"):format(most))
  end
  request.form_params = params
  request.form_params_list = core._parse_form(text, true, most)
  request.body_params = params
end

--- Reads JSON into request.json_params and forms into request.form_params (and form_params_list, as
--- query and query_list), either into request.body_params too. What is no JSON, or a form with too
--- many parameters, is 400; a body of another type 415, and one larger than limits.body_buffer 413.
--- A request without a body passes as it is.
---@param given? tidegate.BodyParamsOptions
---@return tidegate.Interceptor
local function body_params(given)
  given = given or {}
  options.check("tg.body_params", given, KNOWN)
  local most = given.max_params or PARAMS_MAX
  return {
    name = "body_params",
    enter = function(ctx)
      local request = ctx.request
      if not has_body(request) or request.body_params ~= nil then
        return
      end
      local media_type, charset = content_type(request)
      local json, form = is_json(media_type), media_type == FORM
      if not json and not form then
        if not given.pass then
          local got = media_type == "" and "no type" or media_type
          refuse(415, "expected JSON or a form, got " .. got)
        end
        return
      end
      if charset ~= "utf-8" and charset ~= "us-ascii" then
        refuse(415, "the request's body is not in UTF-8")
      end
      if json then
        read_json(request)
      else
        read_form(request, most)
      end
    end,
  }
end

return body_params
