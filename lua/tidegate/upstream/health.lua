--- Active health checks of a pool's servers.
local health = {}
return health
