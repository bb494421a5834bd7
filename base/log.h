/* base/log.h - one line per event on standard error, by level, and bounded where a guest can cause
 * it. Safe from any thread. A line that cannot be written is dropped: logging never fails. */
#pragma once

#include "base/base.h"

enum log_level { LOG_OFF, LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Lines above this level are dropped; LOG_WARN until it is called. */
void log_set_level(enum log_level level);
/* To this descriptor's file from now on; standard error until it is called. The log keeps a
 * descriptor of its own: this one stays the caller's, who may close it. -errno: nothing changed.
 * One thread at a time. */
int CHECKED log_to(int fd);
/* Standard error, if it is a terminal, by a way that does not wait for whoever reads it: that it
 * can be written does not say that a line can. Before there are threads. */
void log_terminal(void);
/* -EINVAL for a name that is none of off, error, warn, info, debug. */
int CHECKED log_level_parse(const char *name, enum log_level *out);

void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);
#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

/* For what a guest can provoke: at most LOG_BURST lines per source and ten seconds; the next line
 * that is let through says how many were left out. Zero-initialised is ready. */
enum { LOG_BURST = 10 };
struct log_limit {
    int64_t window_start_ns;
    unsigned in_window, dropped;
};
void log_limited(struct log_limit *l, enum log_level level, const char *fmt, ...) PRINTF_LIKE(3, 4);
