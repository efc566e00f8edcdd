package kernel

import "os"

func systemCaches() caches { return sysfsCaches(os.DirFS("/sys/devices/system/cpu/cpu0/cache")) }
