/* vmm/api/json.h - JSON as it was written, or not at all. */
#pragma once

#include <jansson.h>

#include "base/base.h"

/* An object has each name once. -EINVAL: it is no JSON, and *why says where; -ENOMEM. On the main
 * thread. */
int CHECKED api_json_load(const char *text, size_t len, json_t **out, json_error_t *why);
