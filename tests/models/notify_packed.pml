/* tests/models/notify_packed.pml - who wakes whom, in a packed ring (virtio 1.4, 2.8.10 and 2.8.14):
 * if driver and device both sleep, nothing is pending. Read notify_split.pml first.
 *
 * The device is devices/virtio/vq.c and vq_packed.c, the driver is as Linux's virtio_ring.c. A place
 * is an index and a wrap counter; lists are of one descriptor, used in order.
 *
 * EVENT_IDX    1: the driver accepted it, and both ask by place; 0: by flags
 * BAD          a mistake that must be found, see tools/prove */
#ifndef BAD
#define BAD 0
#endif
#define SIZE 2
#define MASK 15 /* of what is compared: as 65535 */

#define NEED_EVENT(event, new, old) \
    (((((new) - (event)) - 1) & MASK) < (((new) - (old)) & MASK)) /* vring_need_event() */

/* Flags of a descriptor. */
#define AVAIL(wrap) (wrap -> 1 : 2)
#define USED(wrap)  (wrap -> 3 : 0)

/* Memory that both see: descriptors, and the event suppression structures. */
#define DRIVER_FLAGS 8
#define DRIVER_PLACE 9
#define DEVICE_EVENT 10 /* both halves at once */
#define ENABLE  0
#define DISABLE 1
#define DESC    2
byte desc[SIZE];
byte driver_flags, driver_at, device_flags, device_at;
bit driver_wrap, device_wrap;
#define PLACE(at, wrap) ((at) | (wrap) << 3)

bit kick; /* an eventfd */
bit irq;

chan from_driver = [2] of { byte, byte };
chan from_device = [3] of { byte, byte };

#define FENCE(buffer) empty(buffer)

inline reach_memory(buffer) {
    d_step {
        buffer?to, v;
        if
        :: to == DRIVER_FLAGS -> driver_flags = v
        :: to == DRIVER_PLACE -> driver_at = v & 7; driver_wrap = v >> 3
        :: to == DEVICE_EVENT -> device_flags = v >> 4; device_at = v & 7; device_wrap = v >> 3 & 1
        :: else -> desc[to] = v
        fi;
        to = 0;
        v = 0
    }
}

inline advance(at, wrap) {
    at++;
    if
    :: at == SIZE -> at = 0; wrap = !wrap
    :: else
    fi
}

active proctype store_buffers() {
    byte to, v;
end:
    do
    :: nempty(from_driver) -> reach_memory(from_driver)
    :: nempty(from_device) -> reach_memory(from_device)
    od
}

active proctype driver() {
    byte next_avail, last_used, n, added; /* n: descriptors that are out */
    bit avail_wrap = 1, used_wrap = 1, due;
    do
    :: atomic { n < SIZE && added <= SIZE -> /* virtqueue_add_packed() */
        from_driver!next_avail, AVAIL(avail_wrap);
        advance(next_avail, avail_wrap);
        n++;
        added++
       }
    :: atomic { added > 0 && FENCE(from_driver) -> /* virtqueue_kick_prepare_packed() */
        due = (device_flags == DESC ->
               NEED_EVENT((device_at - (device_wrap != avail_wrap -> SIZE : 0)), next_avail,
                          (next_avail - added)) :
               device_flags != DISABLE);
        added = 0
       }
       if
       :: due -> atomic { kick = 1; due = 0 } /* virtqueue_notify() */
       :: else
       fi
    :: atomic { n > 0 && desc[last_used] == USED(used_wrap) -> /* virtqueue_get_buf_ctx_packed() */
        advance(last_used, used_wrap);
        n--
       }
    :: added == 0 && n > 0 -> /* virtqueue_enable_cb_prepare_packed(), and then it sleeps */
       if
       :: EVENT_IDX ->
            from_driver!DRIVER_PLACE, PLACE(last_used, used_wrap);
            from_driver!DRIVER_FLAGS, DESC
       :: !EVENT_IDX -> from_driver!DRIVER_FLAGS, ENABLE
       fi;
       if
       :: FENCE(from_driver) && desc[last_used] == USED(used_wrap)
       :: atomic { FENCE(from_driver) && desc[last_used] != USED(used_wrap) -> skip }
          atomic { irq -> irq = 0 }
       fi;
       from_driver!DRIVER_FLAGS, DISABLE /* virtqueue_disable_cb_packed() */
    od
}

inline push() {
    if /* a batch's first one is held back until publish() */
    :: span == 0 -> held_at = next_used; held = USED(used_wrap)
    :: else -> from_device!next_used, USED(used_wrap)
    fi;
    span++;
    advance(next_used, used_wrap)
}

/* One thread: a loop; each time that it is at `end` is a turn. */
active proctype device() {
    byte next_avail, next_used, held_at, held, span; /* struct vq */
    byte in_flight, budget;
    bit avail_wrap = 1, used_wrap = 1, armed, poke = 1, due, listed;
    from_device!DEVICE_EVENT, DISABLE << 4; /* vq_start(): disarm() */
end:
    if
    :: atomic { kick -> kick = 0; budget = SIZE } /* on_kick(), vq_run() */
    :: atomic { poke -> poke = 0; budget = SIZE } /* run_task(), vq_run() */
    :: atomic { in_flight > 0 -> /* the host has done one: vq_complete(), push(); or two */
        in_flight--;
        push();
        if
        :: in_flight > 0 -> in_flight--; push()
        :: true
        fi
       }
       goto publish
    :: atomic { listed && desc[next_avail] == AVAIL(avail_wrap) -> /* loop_poll_ready() */
        listed = 0;
        poke = 1
       }
       goto end
    :: atomic { listed -> /* the window is over: arm_all(), poll_arm() */
        listed = 0;
        armed = 1;
        if
        :: EVENT_IDX -> from_device!DEVICE_EVENT, DESC << 4 | PLACE(next_avail, avail_wrap)
        :: else -> from_device!DEVICE_EVENT, ENABLE << 4
        fi
       }
#if BAD != 6
       FENCE(from_device);
#endif
#if BAD != 7
       if /* looks once more, and only then it sleeps */
       :: desc[next_avail] == AVAIL(avail_wrap) -> poke = 1
       :: desc[next_avail] != AVAIL(avail_wrap)
       fi;
#endif
       goto end
    fi;
vq_next:
    if
    :: atomic { budget == 0 -> poke = 1 } /* vq_poke() */
    :: atomic { budget > 0 && desc[next_avail] == AVAIL(avail_wrap) -> /* pop(): a request */
        advance(next_avail, avail_wrap);
        budget--;
        if
        :: armed && !EVENT_IDX -> from_device!DEVICE_EVENT, DISABLE << 4 /* disarm() */
        :: else
        fi;
        armed = 0;
        if /* the device ends it at once, or later */
        :: in_flight++
        :: in_flight == 0 -> push()
        fi
       }
       goto vq_next
    :: atomic { budget > 0 && desc[next_avail] != AVAIL(avail_wrap) && armed -> skip }
    :: atomic { budget > 0 && desc[next_avail] != AVAIL(avail_wrap) && !armed ->
        listed = 1 /* loop_poll_join() */
       }
    :: atomic { budget > 0 && desc[next_avail] != AVAIL(avail_wrap) && !armed && !listed ->
        armed = 1; /* arm() */
        if
#if BAD == 5 /* the lap is left out */
        :: EVENT_IDX -> from_device!DEVICE_EVENT, DESC << 4 | PLACE(next_avail, 1)
#else
        :: EVENT_IDX -> from_device!DEVICE_EVENT, DESC << 4 | PLACE(next_avail, avail_wrap)
#endif
        :: else -> from_device!DEVICE_EVENT, ENABLE << 4
        fi
       }
#if BAD != 1
       FENCE(from_device);
#endif
#if BAD != 2
       goto vq_next /* looks once more */
#endif
    fi;
publish: /* loop_defer()'s end of the turn */
    if
    :: span > 0 ->
       from_device!held_at, held;
#if BAD != 3
       FENCE(from_device);
#endif
       atomic {
#if BAD == 4 /* the lap is left out */
        due = (driver_flags == DESC && EVENT_IDX ->
               NEED_EVENT(driver_at, next_used, (next_used - span)) :
#else
        due = (driver_flags == DESC && EVENT_IDX ->
               NEED_EVENT((driver_at - (driver_wrap != used_wrap -> SIZE : 0)), next_used,
                          (next_used - span)) :
#endif
               driver_flags != DISABLE);
        span = 0;
        held = 0;
        held_at = 0
       }
       if
       :: due -> atomic { irq = 1; due = 0 }
       :: else
       fi
    :: span == 0
    fi;
    budget = 0;
    goto end
}
