--- What a client accepts: the weights of Accept and Accept-Encoding (RFC 9110, 12.4.2).

local accept = {}

--- The weight that each element of the field gives, by its name in lower case.
---@param field? string
---@return table<string, number>
local function weights(field)
  local found = {}
  for element in (field or ""):lower():gmatch("[^,]+") do
    local name, rest = element:match("^%s*([^%s;]+)(.*)$")
    if name then
      found[name] = tonumber(rest:match(";%s*q=([%d.]+)") or 1) or 0
    end
  end
  return found
end

--- How much a media type is wanted: 0 when it is not. Without the field everything is.
---@param field? string Accept
---@param media_type string
---@return number
function accept.media_type(field, media_type)
  local found = weights(field)
  if next(found) == nil then
    return 1
  end
  return found[media_type] or found[media_type:match("^[^/]*") .. "/*"] or found["*/*"] or 0
end

--- How much a content coding is wanted: 0 when it is not, or not named.
---@param field? string Accept-Encoding
---@param coding string
---@return number
function accept.coding(field, coding)
  local found = weights(field)
  return found[coding] or found["*"] or 0
end

return accept
