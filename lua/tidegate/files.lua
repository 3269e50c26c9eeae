--- tg.files(root, options): a handler that serves the files of a folder, and of no other.

local accept = require("tidegate.accept")
local core = require("tidegate.core")
local errors = require("tidegate.errors")
local listing = require("tidegate.listing")

local files = {}

-- Siblings that hold a file compressed already, the best first.
local CODINGS = {
  { name = "br", extension = ".br" },
  { name = "zstd", extension = ".zst" },
  { name = "gzip", extension = ".gz" },
}

-- What openat(2) says, as a client hears it: the rest is 404.
local STATUS = { EACCES = 403, EPERM = 403, EMFILE = 503, ENFILE = 503, ENOMEM = 503 }

---@class tidegate.FilesOptions
---@field param? string the splat that holds the path: "path"
---@field index? string|string[]|false what a folder is answered with: "index.html"
---@field listing? boolean whether a folder without an index is listed
---@field hidden? boolean whether names that begin with a dot are served
---@field follow? boolean whether links may lead out of root
---@field precompressed? boolean whether name.br, name.zst and name.gz are sent to who takes them
---@field cache_control? string|number Cache-Control of the files; a number is their max-age
---@field ranges? boolean
---@field etag? boolean
---@field download? boolean whether the files are to be saved

local TYPES = {
  param = { string = true },
  index = { string = true, table = true, boolean = true },
  listing = { boolean = true },
  hidden = { boolean = true },
  follow = { boolean = true },
  precompressed = { boolean = true },
  cache_control = { string = true, number = true },
  ranges = { boolean = true },
  etag = { boolean = true },
  download = { boolean = true },
}

local function check_options(options)
  for name, value in pairs(options) do
    local types = TYPES[name]
    if not types then
      error(("tg.files: there is no option %s"):format(tostring(name)), 3)
    elseif not types[type(value)] then
      error(("tg.files: %s is a %s"):format(name, type(value)), 3)
    end
  end
end

local function names_of_index(index)
  if index == nil then
    return { "index.html" }
  elseif type(index) == "string" then
    return { index }
  end
  return type(index) == "table" and index or {}
end

local function cache_control_of(value)
  if type(value) == "number" then
    return ("public, max-age=%d"):format(math.max(0, value // 1))
  end
  return value
end

-- --- Paths ---------------------------------------------------------------------------------------

--- The part of the path that is below the handler: "" where its route has no splat.
local function splat_of(request, param)
  local params = request.path_params
  local value = params[param or "path"]
  if value then
    return value
  elseif next(params) == nil and not param then
    return ""
  end
  error(("tg.files: the route has no param %q"):format(param or "path"), 0)
end

--- Whether a slash of the splat was sent as an escape. The router has decoded it, so the path is
--- looked at as it was sent: if there is one, the last segments hold it, as many as the splat now
--- has slashes.
local function hides_slash(request, splat)
  local _, slashes = splat:gsub("/", "")
  local raw, at = request.path, #request.path + 1
  for _ = 1, slashes do
    at = raw:sub(1, at - 1):match("^.*()/") or 1
  end
  return raw:find("%%2[fF]", at) ~= nil
end

--- Whether each name is one that may be asked for. A last, empty one says that it is a folder.
local function is_allowed(splat, hidden)
  local rest = splat:gsub("/$", "")
  if rest == "" then
    return splat == ""
  end
  for name in (rest .. "/"):gmatch("([^/]*)/") do
    if name == "" or name == "." or name == ".." then
      return false
    elseif name:sub(1, 1) == "." and not hidden then
      return false
    end
  end
  return not splat:find("\0", 1, true)
end

-- --- Answers -------------------------------------------------------------------------------------

--- In the handler's own name: what is raised has the path, which a client does not see.
local function refuse(splat, why)
  errors.raise(STATUS[why] or 404, splat .. ": " .. why)
end

--- The compressed sibling that the client likes best: its coding and its extension.
local function find_coding(self, request, path)
  local field = request.headers["Accept-Encoding"]
  local best, best_weight
  for _, coding in ipairs(CODINGS) do
    local weight = accept.coding(field, coding.name)
    if weight > (best_weight or 0) then
      local sibling = path .. coding.extension
      if core._stat_below(self.root, sibling, self.options.follow) == "file" then
        best, best_weight = coding, weight
      end
    end
  end
  return best
end

local function serve_file(self, request, path)
  local options = self.options
  local headers = { ["Cache-Control"] = self.cache_control }
  local coding
  if options.precompressed then
    headers["Vary"] = "Accept-Encoding"
    coding = find_coding(self, request, path)
  end
  if coding then
    headers["Content-Encoding"] = coding.name
  end
  return {
    headers = headers,
    body = core.file(path .. (coding and coding.extension or ""), {
      root = self.root,
      follow = options.follow,
      content_type = core._media_type(path),
      ranges = options.ranges,
      etag = options.etag,
      download = options.download and path or false,
    }),
  }
end

--- Links in a folder's page are relative to the folder, so its path ends in a slash.
local function redirect(request)
  local query = request.query_string
  local location = request.path .. "/" .. (query and query ~= "" and "?" .. query or "")
  return { status = 301, headers = { Location = location } }
end

local function serve_folder(self, request, path)
  local prefix = path == "" and "" or path .. "/"
  for _, name in ipairs(self.index) do
    if core._stat_below(self.root, prefix .. name, self.options.follow) == "file" then
      return serve_file(self, request, prefix .. name)
    end
  end
  if not self.options.listing then
    refuse(path, "a folder")
  end
  local entries, more = core._list_below(self.root, path, self.options.follow)
  if not entries then
    refuse(path, more)
  end
  return listing.response(request, entries, {
    hidden = self.options.hidden,
    more = more,
    top = path == "",
  })
end

local function serve(self, request)
  if request.method ~= "GET" and request.method ~= "HEAD" then
    return { status = 405, headers = { Allow = "GET, HEAD" } }
  end
  local splat = splat_of(request, self.options.param)
  if splat:find("\0", 1, true) then
    errors.raise(400, "tg.files: the path holds a NUL")
  end
  if hides_slash(request, splat) or not is_allowed(splat, self.options.hidden) then
    refuse(splat, "no path of a file")
  end
  local path = splat:gsub("/$", "")
  local kind, why = core._stat_below(self.root, path, self.options.follow)
  if kind == "file" and path == splat then
    return serve_file(self, request, path)
  elseif kind == "folder" and request.path:sub(-1) ~= "/" then
    return redirect(request)
  elseif kind == "folder" then
    return serve_folder(self, request, path)
  end
  return refuse(splat, why or "no file")
end

--- A handler for a route that ends in a splat, or for a folder's own path:
--- `{ "/files/*path", get = tg.files("public") }`.
---@param root string a folder; what it does not hold is never served
---@param options? tidegate.FilesOptions
---@return fun(request: tidegate.Request): tidegate.Response
function files.handler(root, options)
  if type(root) ~= "string" or root == "" then
    error("tg.files: root is the path of a folder", 2)
  end
  options = options or {}
  check_options(options)
  local self = {
    root = root,
    options = options,
    index = names_of_index(options.index),
    cache_control = cache_control_of(options.cache_control),
  }
  return function(request)
    return serve(self, request)
  end
end

return files
