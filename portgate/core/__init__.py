"""The pure core: values and functions. Nothing here touches a file, a process, a clock or a socket."""
