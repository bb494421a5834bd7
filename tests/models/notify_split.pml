/* tests/models/notify_split.pml - who wakes whom, in a split ring (virtio 1.4, 2.7.7 and 2.7.10): if
 * driver and device both sleep, nothing is pending.
 *
 * The device is devices/virtio/vq.c and vq_split.c, the driver is as Linux's virtio_ring.c. Stores
 * wait in a buffer of their writer's, as on x86: only a fence empties it for certain. Everything is
 * as often as one likes and indices wrap, so there is no end to it but a lost wake-up, which spin
 * reports as an invalid end state: the driver waits for an interrupt, and nobody will send it.
 *
 * What is atomic reads or writes shared memory once; to store is to put into one's own buffer.
 *
 * Nobody asks for notifications while base/loop_poll.c looks at the queue, for as long as it likes;
 * then arm_all() asks, looks once more, and the loop sleeps.
 *
 * EVENT_IDX    1: by index, 0: by flags
 * SLOTS        requests that the device may hold: with fewer than the ring has, it can run out
 * BAD          a mistake that must be found, see tools/prove */
#ifndef BAD
#define BAD 0
#endif
#define SIZE 2
#ifndef SLOTS
#define SLOTS SIZE
#endif
#define MASK 7 /* of indices: as 65535, and above 2 * SIZE */

#define NEED_EVENT(event, new, old) \
    (((((new) - (event)) - 1) & MASK) < (((new) - (old)) & MASK)) /* vring_need_event() */

/* Memory that both see. */
mtype = { AVAIL_IDX, AVAIL_FLAGS, USED_EVENT, USED_IDX, USED_FLAGS, AVAIL_EVENT };
byte avail_idx, used_event, used_idx, avail_event;
bit no_interrupt, no_notify;

bit kick; /* an eventfd */
bit irq;

chan from_driver = [2] of { mtype, byte };
chan from_device = [2] of { mtype, byte };

#define FENCE(buffer) empty(buffer)

inline reach_memory(buffer) {
    d_step {
        buffer?to, v;
        if
        :: to == AVAIL_IDX -> avail_idx = v
        :: to == AVAIL_FLAGS -> no_interrupt = v
        :: to == USED_EVENT -> used_event = v
        :: to == USED_IDX -> used_idx = v
        :: to == USED_FLAGS -> no_notify = v
        :: to == AVAIL_EVENT -> avail_event = v
        fi;
        to = 0;
        v = 0
    }
}

active proctype store_buffers() {
    mtype to;
    byte v;
end:
    do
    :: nempty(from_driver) -> reach_memory(from_driver)
    :: nempty(from_device) -> reach_memory(from_device)
    od
}

active proctype driver() {
    byte avail, used, added; /* vring.avail_idx_shadow, last_used_idx, num_added */
    bit due;
    do
    :: atomic { ((avail - used) & MASK) < SIZE && added <= SIZE -> /* virtqueue_add_split() */
        avail = (avail + 1) & MASK;
        added++;
        from_driver!AVAIL_IDX(avail)
       }
    :: atomic { added > 0 && FENCE(from_driver) -> /* virtqueue_kick_prepare_split() */
        due = (EVENT_IDX -> NEED_EVENT(avail_event, avail, (avail - added)) : !no_notify);
        added = 0
       }
       if
       :: due -> atomic { kick = 1; due = 0 } /* virtqueue_notify() */
       :: else
       fi
    :: atomic { used_idx != used -> used = (used + 1) & MASK } /* virtqueue_get_buf_ctx_split() */
    :: atomic { added == 0 && used != avail -> /* virtqueue_enable_cb(), and then it sleeps */
        if
        :: EVENT_IDX -> from_driver!USED_EVENT(used)
        :: else -> from_driver!AVAIL_FLAGS(0)
        fi
       }
       if
       :: FENCE(from_driver) && used_idx != used
       :: atomic { FENCE(from_driver) && used_idx == used -> skip }
          atomic { irq -> irq = 0 }
       fi;
       if /* virtqueue_disable_cb(); with an event it does nothing worth a model */
       :: EVENT_IDX
       :: !EVENT_IDX -> from_driver!AVAIL_FLAGS(1)
       fi
    od
}

/* One thread: a loop; each time that it is at `end` is a turn. */
active proctype device() {
    byte next_avail, next_used, published; /* struct vq */
    byte in_flight, budget;
    bit armed, poke, due;
    bit listed;  /* in loop_poll.c's list */
    bit stalled; /* waits for a slot, and is not armed */
    if /* vq_start(): disarm() */
    :: EVENT_IDX
    :: !EVENT_IDX -> from_device!USED_FLAGS(1)
    fi;
    poke = 1;
end:
    if
    :: atomic { kick -> kick = 0; budget = SIZE } /* on_kick(), vq_run() */
    :: atomic { poke -> poke = 0; budget = SIZE } /* run_task(), vq_run() */
    :: atomic { in_flight > 0 -> /* the host has done one: vq_complete(), push(); or two */
        in_flight--;
        next_used = (next_used + 1) & MASK;
        if
        :: in_flight > 0 ->
            in_flight--;
            next_used = (next_used + 1) & MASK
        :: true
        fi;
#if BAD != 7 /* nobody is told that there is a slot */
        poke = poke | stalled; /* release() */
#endif
        stalled = 0
       }
       goto publish
    :: atomic { listed && avail_idx != next_avail -> listed = 0; poke = 1 } /* loop_poll_ready() */
       goto end
    :: atomic { listed -> /* the window is over: arm_all(), poll_arm() */
        listed = 0;
        armed = 1;
        if
        :: EVENT_IDX -> from_device!AVAIL_EVENT(next_avail)
        :: else -> from_device!USED_FLAGS(0)
        fi
       }
#if BAD != 5
       FENCE(from_device);
#endif
#if BAD != 6
       if /* looks once more, and only then it sleeps */
       :: avail_idx != next_avail -> poke = 1
       :: avail_idx == next_avail
       fi;
#endif
       goto end
    fi;
vq_next:
    if
    :: atomic { budget == 0 -> poke = 1 } /* vq_poke() */
    :: atomic { budget > 0 && in_flight == SLOTS -> stalled = 1 } /* slot_take() */
    :: atomic { budget > 0 && in_flight < SLOTS && avail_idx != next_avail -> /* pop(): a request */
        next_avail = (next_avail + 1) & MASK;
        budget--;
        if
        :: armed && !EVENT_IDX -> from_device!USED_FLAGS(1) /* disarm() */
        :: else
        fi;
        armed = 0;
        if /* the device ends it at once, or later */
        :: in_flight++
        :: next_used = (next_used + 1) & MASK
        fi
       }
       goto vq_next
    :: atomic { budget > 0 && in_flight < SLOTS && avail_idx == next_avail && armed -> skip }
    :: atomic { budget > 0 && in_flight < SLOTS && avail_idx == next_avail && !armed ->
        listed = 1 /* loop_poll_join(): a window is open */
       }
    :: atomic { budget > 0 && in_flight < SLOTS && avail_idx == next_avail && !armed && !listed ->
        armed = 1; /* arm() */
        if
        :: EVENT_IDX -> from_device!AVAIL_EVENT(next_avail)
        :: else -> from_device!USED_FLAGS(0)
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
    :: atomic { next_used != published -> from_device!USED_IDX(next_used) }
#if BAD != 3
       FENCE(from_device);
#endif
       atomic {
#if BAD == 4 /* only the last one is compared */
        published = (next_used - 1) & MASK;
#endif
        due = (EVENT_IDX -> NEED_EVENT(used_event, next_used, published) : !no_interrupt);
        published = next_used
       }
       if
       :: due -> atomic { irq = 1; due = 0 }
       :: else
       fi
    :: next_used == published
    fi;
    budget = 0;
    goto end
}
