package godwit.tests;

import java.util.Base64;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.Map;
import org.eclipse.leshan.core.link.DefaultLinkParser;
import org.eclipse.leshan.core.link.Link;
import org.eclipse.leshan.core.link.LinkParseException;
import org.eclipse.leshan.core.model.ResourceModel.Type;
import org.eclipse.leshan.core.node.LwM2mResource;
import org.eclipse.leshan.core.node.LwM2mResourceInstance;
import org.eclipse.leshan.core.node.ObjectLink;
import org.eclipse.leshan.core.util.datatype.ULong;

/** Values as text: Opaque in base64, Time in seconds, Objlnk "3:0", Corelnk in link format. */
final class Values {
    private Values() {}

    static Object parse(Type type, String text) {
        switch (type) {
            case STRING:
                return text;
            case INTEGER:
                return Long.valueOf(text);
            case UNSIGNED_INTEGER:
                return ULong.valueOf(text);
            case FLOAT:
                return Double.valueOf(text);
            case BOOLEAN:
                return Boolean.valueOf(text);
            case OPAQUE:
                return Base64.getDecoder().decode(text);
            case TIME:
                return new Date(Long.parseLong(text) * 1000);
            case OBJLNK:
                return ObjectLink.decodeFromString(text);
            case CORELINK:
                try {
                    return new DefaultLinkParser().parseCoreLinkFormat(text.getBytes());
                } catch (LinkParseException e) {
                    throw new IllegalArgumentException(e);
                }
            default:
                throw new IllegalArgumentException("no value of type " + type);
        }
    }

    static String text(Object value) {
        if (value instanceof byte[]) {
            return Base64.getEncoder().encodeToString((byte[]) value);
        }
        if (value instanceof Date) {
            return String.valueOf(((Date) value).getTime() / 1000);
        }
        if (value instanceof ObjectLink) {
            return ((ObjectLink) value).encodeToString();
        }
        if (value instanceof Link[]) {
            StringBuilder links = new StringBuilder();
            for (Link link : (Link[]) value) {
                links.append(links.length() == 0 ? "" : ",").append(link.toCoreLinkFormat());
            }
            return links.toString();
        }
        return String.valueOf(value);
    }

    /** A resource's values by path below `parent`: one of a single resource, each instance of a multiple one. */
    static Map<String, String> texts(String parent, LwM2mResource resource) {
        Map<String, String> texts = new LinkedHashMap<>();
        String path = parent + "/" + resource.getId();
        if (resource.isMultiInstances()) {
            for (LwM2mResourceInstance instance : resource.getInstances().values()) {
                texts.put(path + "/" + instance.getId(), text(instance.getValue()));
            }
        } else {
            texts.put(path, text(resource.getValue()));
        }
        return texts;
    }
}
